# Add up the summary lines in the output of test programs, which may run under
# "ctest -V". Prints "PASSED FAILED SKIPPED". A test of ctest without a summary
# line counts as one skip if ctest reports it as skipped, otherwise as one
# failure.

function add(id, line,	n) {
	gsub(/[^0-9 ]/, "", line)
	split(line, n, " ")
	passed += n[1]
	failed += n[2]
	skipped += n[3]
	counted[id] = 1
	failures[id] += n[2]
}

/^([0-9]+: )?[A-Za-z0-9_.\/-]+: [0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ {
	id = ""
	if (match($0, /^[0-9]+: /))
		id = substr($0, 1, RLENGTH - 2)
	line = $0
	sub(/^([0-9]+: )?[^:]*: /, "", line)
	add(id, line)
}

/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
	id = $0
	sub(/^[^#]*#/, "", id)
	sub(/:.*/, "", id)
	state[id] = /Passed/ ? "passed" : /Skipped/ ? "skipped" : "failed"
}

END {
	for (id in state) {
		if (state[id] == "failed" && !failures[id])
			failed++
		else if (state[id] == "skipped" && !counted[id])
			skipped++
		else if (state[id] == "passed" && !counted[id])
			failed++
	}
	print passed + 0, failed + 0, skipped + 0
}

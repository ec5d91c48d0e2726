/* SPDX-License-Identifier: MIT */
/*
 * Generated pages: directory listings and error pages. A file name can contain
 * any bytes. Links contain it percent-encoded. Text shows it as UTF-8, with
 * invalid bytes replaced and with markup escaped.
 */
#include "httpd.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES_MAX	10000		/* on one page */
#define HEADING_MAX	64		/* directories with a link in a heading */
#define PAGES_MAX	(16u << 20)	/* bytes of pages in memory at a time */

static const char style[] =
"<style>\n"
":root{color-scheme:light dark;--line:#8884}\n"
"body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;"
"padding:1rem}\n"
"h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}\n"
"table{border-collapse:collapse;width:100%}\n"
"th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;"
"border-bottom:1px solid var(--line)}\n"
"th{font-weight:600}\n"
".n{width:100%;overflow-wrap:anywhere;white-space:pre-wrap}\n"
".s,.t{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
"a{text-decoration:none}\n"
"a:hover{text-decoration:underline}\n"
"a:focus-visible{outline:2px solid;outline-offset:2px}\n"
"footer{margin-top:1rem;font-size:.875rem;opacity:.75}\n"
"@media(max-width:36rem){.t{display:none}}\n"
"</style>\n";

/* ---- text ---- */

void url_encode(const char *in, size_t len, char *out)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)in[i];

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		    (c >= 'a' && c <= 'z') || strchr("-._~", c)) {
			*out++ = (char)c;
		} else {
			*out++ = '%';
			*out++ = hex[c >> 4];
			*out++ = hex[c & 15];
		}
	}
	*out = '\0';
}

/*
 * Decode the UTF-8 character at s into *code. Returns its length in bytes, or 0
 * if it is invalid.
 */
static size_t utf8_decode(const char *s, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 :
		   c < 0xf8 ? 4 : 0;

	*code = n < 2 ? c : c & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | ((unsigned char)s[i] & 0x3f);
	}
	if (n > 1 && (*code < least[n] || *code > 0x10ffff ||
		      (*code >= 0xd800 && *code < 0xe000)))
		return 0;
	return n;
}

/*
 * Characters that are invisible or that reorder the text around them. Joiners
 * and single direction marks are not included: some scripts need them.
 */
static bool is_invisible(uint32_t c)
{
	return (c >= 0x80 && c < 0xa0) || c == 0x200b ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
	       c == 0xfeff;
}

static void put_control(FILE *f, uint32_t c)
{
	/* U+2400 to U+2421 are symbols for the control characters */
	fprintf(f, "\xe2\x90%c", (int)(c == 0x7f ? 0xa1 : 0x80 + c));
}

static void put_text(FILE *f, const char *s)
{
	while (*s) {
		uint32_t c;
		size_t n = utf8_decode(s, &c);

		if (n == 0 || is_invisible(c))
			fputs("\xef\xbf\xbd", f);	/* U+FFFD */
		else if (c < 0x20 || c == 0x7f)
			put_control(f, c);
		else if (strchr("&<>\"'", (int)c) && n == 1)
			fprintf(f, "&#%u;", (unsigned int)c);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
	}
}

static void put_link(FILE *f, const char *prefix, const char *path, size_t len)
{
	char url[3 * PATH_MAX_BYTES + 1];

	url_encode(path, len, url);
	fprintf(f, "%s%s", prefix, url);
}

static void put_size(FILE *f, uint64_t size)
{
	static const char units[] = "KMGTPE";
	double n = (double)size;
	int unit = -1;

	while (n >= 1024) {
		n /= 1024;
		unit++;
	}
	if (unit < 0)
		fprintf(f, "%" PRIu64 " B", size);
	else
		fprintf(f, n < 9.95 ? "%.1f %ciB" : "%.0f %ciB", n,
			units[unit]);
}

/* ---- one page ---- */

/* Bytes of the pages in memory, over all workers: slow clients hold them. */
static atomic_size_t pages_held;

static FILE *page_open(struct response *resp)
{
	page_free(resp);
	if (pages_held > PAGES_MAX)
		return NULL;
	return open_memstream(&resp->page, &resp->page_len);
}

static bool page_close(struct response *resp, FILE *f)
{
	bool failed = ferror(f);

	if (fclose(f) != 0 || failed) {
		free(resp->page);
		resp->page = NULL;
		resp->page_len = 0;
		return false;
	}
	pages_held += resp->page_len;
	return true;
}

void page_free(struct response *resp)
{
	pages_held -= resp->page_len;
	free(resp->page);
	resp->page = NULL;
	resp->page_len = 0;
}

static void put_top(FILE *f, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" "
	      "content=\"width=device-width,initial-scale=1\">\n"
	      "<link rel=\"icon\" href=\"data:,\">\n<title>", f);
	put_text(f, title);
	fprintf(f, "</title>\n%s", style);
}

static const char *status_explanation(int status)
{
	switch (status) {
	case 301: return "This is a directory. Its address ends with a slash.";
	case 403: return "Access to this address is not allowed.";
	case 404: return "There is nothing at this address.";
	case 405: return "This server supports GET and HEAD only.";
	case 408: return "The request did not arrive in time.";
	case 411: return "This server does not accept a request body.";
	case 412: return "A condition of the request is not met.";
	case 414: return "The address is too long.";
	case 416: return "The file does not have the requested range.";
	case 431: return "The headers of the request are too long.";
	case 501: return "This server does not support this kind of request.";
	case 503: return "The server is busy. Try again soon.";
	case 505: return "This server supports HTTP/1.0 and HTTP/1.1 only.";
	default: return "The server did not understand the request.";
	}
}

/* If there is no memory for a page, the response has no body. */
void page_error(struct response *resp)
{
	FILE *f = page_open(resp);
	char title[64];

	if (!f)
		return;
	snprintf(title, sizeof(title), "%d %s", resp->status,
		 status_text(resp->status));
	put_top(f, title);
	fprintf(f, "<main>\n<h1>%s</h1>\n<p>%s\n<p><a href=\"%s\">%s</a>\n"
		"</main>\n", title, status_explanation(resp->status),
		*resp->location ? resp->location : "/",
		*resp->location ? "Open the directory" : "Go to the root");
	page_close(resp, f);
}

/* ---- directories ---- */

struct entry {
	char *name;
	bool dir;
	uint64_t size;
	time_t mtime;
};

struct listing {
	struct entry *entries;
	size_t n;
	bool more;		/* the directory has more than ENTRIES_MAX */
};

/*
 * Like fstatat(). A symbolic link that leads out of the root fails, so that the
 * listing discloses nothing about files outside the root.
 */
static int stat_entry(int root, int dir, const char *path, const char *name,
		      struct stat *st)
{
	char whole[PATH_MAX_BYTES + 256];
	int fd;

	if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (!S_ISLNK(st->st_mode))
		return 0;
	snprintf(whole, sizeof(whole), "%s%s", path, name);
	fd = file_open(root, whole, st);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static bool add_entry(struct listing *l, const char *name,
		      const struct stat *st)
{
	struct entry *e = &l->entries[l->n];

	*e = (struct entry) {
		.name = strdup(name),
		.dir = S_ISDIR(st->st_mode),
		.size = (uint64_t)st->st_size,
		.mtime = st->st_mtime,
	};
	if (!e->name)
		return false;
	l->n++;
	return true;
}

/*
 * Read the files and directories that a client can request. Names that begin
 * with a dot are served on request, but not listed.
 */
static bool read_entries(struct listing *l, DIR *d, int root, const char *path)
{
	const struct dirent *ent;
	struct stat st;

	while ((ent = readdir(d))) {
		if (*ent->d_name == '.' ||
		    stat_entry(root, dirfd(d), path, ent->d_name, &st) < 0 ||
		    !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			continue;
		l->more = l->n == ENTRIES_MAX;
		if (l->more)
			break;
		if (!add_entry(l, ent->d_name, &st))
			return false;
	}
	return true;
}

/* Directories first; numbers in names by value: file2 before file10. */
static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->dir != y->dir)
		return x->dir ? -1 : 1;
	return strverscmp(x->name, y->name);
}

/*
 * Write the path with a link to each of its directories. Each link contains the
 * whole path up to its directory. After HEADING_MAX directories the names have
 * no links, so that the page cannot grow with the square of the path's length.
 */
static void put_heading(FILE *f, const char *path)
{
	const char *start = strcmp(path, "./") == 0 ? "" : path;
	const char *p = start;

	fputs("<h1><a href=\"/\">root</a>", f);
	for (int i = 0; *p; i++) {
		char name[256];
		size_t len = strcspn(p, "/");

		snprintf(name, sizeof(name), "%.*s", (int)len, p);
		fputs(" / ", f);
		if (i < HEADING_MAX) {
			fputs("<a href=\"", f);
			for (const char *q = start; q < p;
			     q += strcspn(q, "/") + 1)
				put_link(f, "/", q, strcspn(q, "/"));
			put_link(f, "/", p, len);
			fputs("/\">", f);
		}
		fputs("<bdi>", f);
		put_text(f, name);
		fputs(i < HEADING_MAX ? "</bdi></a>" : "</bdi>", f);
		p += len;
		p += strspn(p, "/");
	}
	fputs("</h1>\n", f);
}

static void put_entry(FILE *f, const struct entry *e)
{
	char date[32] = "";
	struct tm tm;

	put_link(f, "<tr><td class=\"n\"><a href=\"./", e->name,
		 strlen(e->name));
	fprintf(f, "%s\"><bdi>", e->dir ? "/" : "");
	put_text(f, e->name);
	fprintf(f, "</bdi>%s</a><td class=\"s\">", e->dir ? "/" : "");
	if (!e->dir)
		put_size(f, e->size);
	/* gmtime_r() fails if the year does not fit in an int */
	if (gmtime_r(&e->mtime, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
	fprintf(f, "<td class=\"t\">%s\n", date);
}

static void put_listing(FILE *f, const struct listing *l, const char *path)
{
	put_top(f, strcmp(path, "./") == 0 ? "/" : path);
	fputs("<main>\n", f);
	put_heading(f, path);
	fputs("<table>\n<thead><tr><th class=\"n\" scope=\"col\">Name"
	      "<th class=\"s\" scope=\"col\">Size<th class=\"t\" scope=\"col\">"
	      "Changed (UTC)\n<tbody>\n", f);
	if (strcmp(path, "./") != 0)
		fputs("<tr><td class=\"n\"><a href=\"../\">../</a>"
		      "<td class=\"s\"><td class=\"t\">\n", f);
	for (size_t i = 0; i < l->n; i++)
		put_entry(f, &l->entries[i]);
	fprintf(f, "</table>\n</main>\n<footer>%zu %s%s</footer>\n", l->n,
		l->n == 1 ? "entry" : "entries",
		l->more ? " shown; there are more" : "");
}

bool page_directory(struct response *resp, int root, int dir, const char *path)
{
	struct listing l = {
		.entries = malloc(ENTRIES_MAX * sizeof(*l.entries)),
	};
	DIR *d = fdopendir(dir);
	FILE *f = page_open(resp);
	bool ok = l.entries && d && f && read_entries(&l, d, root, path);

	if (ok) {
		qsort(l.entries, l.n, sizeof(*l.entries), compare_entries);
		put_listing(f, &l, path);
	}
	if (f && !page_close(resp, f))
		ok = false;
	if (d)
		closedir(d);
	else
		close(dir);
	while (l.n)
		free(l.entries[--l.n].name);
	free(l.entries);
	return ok;
}

/* SPDX-License-Identifier: MIT */
/*
 * Opens files below the root directory, and finds their media types. openat2()
 * (Linux 5.6) makes sure that the path stays below the root: a symbolic link
 * may point inside the root, a link that leads out fails. Without openat2() the
 * path is opened component by component, and no symbolic link is followed.
 */
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* O_NONBLOCK: open() of a FIFO must not wait for a writer. */
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define RACE_TRIES 8

static int open_by_openat2(int root, const char *path)
{
	struct open_how how = {
		.flags = FILE_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -1;

	/* EAGAIN: openat2() raced with a rename or mount */
	for (int i = 0; i < RACE_TRIES; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd >= 0 ? (int)fd : -errno;
}

/*
 * Copy the first component of the path to `name`. Returns the rest of the path
 * without leading slashes, or NULL if the component is too long.
 */
static const char *next_name(const char *path, char name[NAME_MAX + 1])
{
	size_t len = strcspn(path, "/");

	if (len > NAME_MAX)
		return NULL;
	memcpy(name, path, len);
	name[len] = '\0';
	path += len;
	return path + strspn(path, "/");
}

static int open_by_component(int root, const char *path)
{
	char name[NAME_MAX + 1];
	int dir = dup(root);

	while (dir >= 0) {
		bool slash = strchr(path, '/') != NULL;
		int fd, err;

		path = next_name(path, name);
		if (!path || strcmp(name, "..") == 0) {
			close(dir);
			return -ENOENT;
		}
		fd = openat(dir, name, slash ?
			    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC :
			    FILE_FLAGS | O_NOFOLLOW);
		err = errno;
		close(dir);
		if (fd < 0)
			return -err;
		if (!slash)
			return fd;
		dir = fd;
		if (!*path)	/* "dir/": the directory itself */
			path = ".";
	}
	return -errno;
}

static int open_below_root(int root, const char *path)
{
	int fd = open_by_openat2(root, path);

	/* EPERM: a seccomp filter that does not know openat2 */
	if (fd == -ENOSYS || fd == -EPERM)
		fd = open_by_component(root, path);
	return fd;
}

int file_open(int root, const char *path, struct stat *st)
{
	int fd = open_below_root(root, path);
	int err = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		err = -errno;
	else if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		err = -ENOENT;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

/* ---- types ---- */

static const struct {
	const char *ending, *type;
} types[] = {
	{ "7z", "application/x-7z-compressed" },
	{ "avif", "image/avif" },
	{ "bz2", "application/x-bzip2" },
	{ "c", "text/plain; charset=utf-8" },
	{ "conf", "text/plain; charset=utf-8" },
	{ "css", "text/css; charset=utf-8" },
	{ "csv", "text/csv; charset=utf-8" },
	{ "deb", "application/vnd.debian.binary-package" },
	{ "epub", "application/epub+zip" },
	{ "flac", "audio/flac" },
	{ "gif", "image/gif" },
	{ "gz", "application/gzip" },
	{ "h", "text/plain; charset=utf-8" },
	{ "htm", "text/html; charset=utf-8" },
	{ "html", "text/html; charset=utf-8" },
	{ "ico", "image/vnd.microsoft.icon" },
	{ "ics", "text/calendar; charset=utf-8" },
	{ "jpeg", "image/jpeg" },
	{ "jpg", "image/jpeg" },
	{ "js", "text/javascript; charset=utf-8" },
	{ "json", "application/json" },
	{ "log", "text/plain; charset=utf-8" },
	{ "m4a", "audio/mp4" },
	{ "md", "text/markdown; charset=utf-8" },
	{ "mjs", "text/javascript; charset=utf-8" },
	{ "mkv", "video/matroska" },
	{ "mp3", "audio/mpeg" },
	{ "mp4", "video/mp4" },
	{ "odt", "application/vnd.oasis.opendocument.text" },
	{ "ogg", "audio/ogg" },
	{ "opus", "audio/ogg" },
	{ "otf", "font/otf" },
	{ "patch", "text/plain; charset=utf-8" },
	{ "pdf", "application/pdf" },
	{ "png", "image/png" },
	{ "sh", "text/plain; charset=utf-8" },
	{ "svg", "image/svg+xml" },
	{ "tar", "application/x-tar" },
	{ "ttf", "font/ttf" },
	{ "txt", "text/plain; charset=utf-8" },
	{ "vtt", "text/vtt; charset=utf-8" },
	{ "wasm", "application/wasm" },
	{ "wav", "audio/wav" },
	{ "webm", "video/webm" },
	{ "webp", "image/webp" },
	{ "woff", "font/woff" },
	{ "woff2", "font/woff2" },
	{ "xml", "application/xml" },
	{ "xz", "application/x-xz" },
	{ "zip", "application/zip" },
	{ "zst", "application/zstd" },
};

const char *file_type(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcasecmp(dot + 1, types[i].ending) == 0)
			return types[i].type;
	return "application/octet-stream";
}

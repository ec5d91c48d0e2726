/* SPDX-License-Identifier: MIT */
/*
 * Opening files without leaving the root. The kernel does it where it can
 * (openat2, Linux 5.6): symbolic links inside the root work, those that lead
 * out fail. Elsewhere each component is opened by itself and no symbolic link
 * is followed at all.
 */
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define RACE_TRIES 8

static int open_beneath(int root, const char *path)
{
	struct open_how how = {
		.flags = FILE_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -1;

	/* EAGAIN: something below the root was renamed meanwhile */
	for (int i = 0; i < RACE_TRIES; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd >= 0 ? (int)fd : -errno;
}

/* Copy the next component, skip the slashes behind it. */
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

static int open_stepwise(int root, const char *path)
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

static int open_below(int root, const char *path)
{
	int fd = open_beneath(root, path);

	/* EPERM: what sandboxes answer to system calls they do not know */
	if (fd == -ENOSYS || fd == -EPERM)
		fd = open_stepwise(root, path);
	return fd;
}

/* Regular file: 0; directory: -EISDIR; all else: -ENOENT. */
static int check(int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int open_regular(int root, const char *path, uint64_t *size)
{
	int fd = open_below(root, path);
	int err;

	if (fd < 0)
		return fd;
	err = check(fd, size);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

int file_open(int root, const char *path, uint64_t *size)
{
	char index[PATH_MAX_BYTES + sizeof("/index.html")];
	int fd = open_regular(root, path, size);

	if (fd != -EISDIR)
		return fd;
	snprintf(index, sizeof(index), "%s/index.html", path);
	return open_regular(root, index, size);
}

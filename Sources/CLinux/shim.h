// What the Glibc module hides because it is built without _GNU_SOURCE:
// fallocate and its flags, SEEK_HOLE/SEEK_DATA, copy_file_range, open-file-description locks, statx.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <sys/stat.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <fcntl.h>
#include <unistd.h>
#include <errno.h>
#include <string.h>
#include <linux/falloc.h>
#include <linux/fs.h>

// fcntl is variadic and so not imported. Each returns 0 or an errno.

// Takes (F_RDLCK, F_WRLCK) or gives up (F_UNLCK) an open-file-description lock without waiting.
static inline int lamina_ofd_set_lock(int fd, short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

// Sets *held to whether another open file description holds a lock that an exclusive one on these
// bytes would contradict.
static inline int lamina_ofd_probe_lock(int fd, off_t start, off_t length, int *held) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return errno;
  *held = lock.l_type != F_UNLCK;
  return 0;
}

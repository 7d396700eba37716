/* Preloaded into a host: while the file named by KEYSTEAD_TEST_SYNCS_FAIL exists, fdatasync of a journal file
   (of one whose path holds KEYSTEAD_TEST_SYNCS_OF, where that is set) fails with EIO. Nothing else changes, so whatever is answered then was answered without asking the disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_journal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *of = getenv("KEYSTEAD_TEST_SYNCS_OF");
    return strstr(path, of ? of : "/journal-") != NULL;
}

int fdatasync(int fd) {
    const char *flag = getenv("KEYSTEAD_TEST_SYNCS_FAIL");
    if (flag && access(flag, F_OK) == 0 && is_journal(fd)) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}

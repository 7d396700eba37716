/* Preloaded into a host: everything that it does to files under KEYSTEAD_TEST_DISK_ROOT is appended to the file
   KEYSTEAD_TEST_DISK_TRACE, in order, so that a test can make what a disk may hold after a power cut at any
   moment. A write is noted before it is made, a name's change while no other can happen, a sync when it has
   succeeded, with how long the trace was when it began: only what stands before that is known to be stable. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct head {
    char what[8];
    uint64_t inode, offset, size, first_len, second_len;
};

static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static const char *root;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("KEYSTEAD_TEST_DISK_TRACE");
    root = getenv("KEYSTEAD_TEST_DISK_ROOT");
    if (path && root) trace = (int)REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) { return trace >= 0 && path && strncmp(path, root, strlen(root)) == 0; }

/* The path of an open file, when it is one of ours. */
static int ours_fd(int fd, char *path, size_t size) {
    char link[64];
    if (trace < 0 || fd < 0 || fd == trace) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

static uint64_t length_now(void) {
    struct stat found;
    return fstat(trace, &found) == 0 ? (uint64_t)found.st_size : 0;
}

static void note(const char *what, uint64_t inode, uint64_t offset, uint64_t size, const void *first,
                 size_t first_len, const void *second, size_t second_len) {
    struct head head = {{0}, inode, offset, size, first_len, second_len};
    strncpy(head.what, what, sizeof head.what);
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)first, first_len}, {(void *)second, second_len}};
    size_t whole = sizeof head + first_len + second_len;
    if (REAL(writev)(trace, parts, 3) != (ssize_t)whole) abort();
}

static int opened(const char *path, int flags, int existed, int fd) {
    if (fd >= 0 && !existed && (flags & O_CREAT))
        note("create", inode_of(fd), 0, 0, path, strlen(path), NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC))
        note("size", inode_of(fd), 0, 0, NULL, 0, NULL, 0);
    return fd;
}

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                               \
        int (*real)(const char *, int, ...) = REAL(name);                           \
        if (!ours(path)) return real(path, flags, mode);                            \
        pthread_mutex_lock(&names);                                                 \
        int existed = access(path, F_OK) == 0;                                      \
        int fd = opened(path, flags, existed, real(path, flags, mode));             \
        pthread_mutex_unlock(&names);                                               \
        return fd;                                                                  \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                \
    int name(int dir, const char *path, int flags, ...) {                           \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                               \
        int (*real)(int, const char *, int, ...) = REAL(name);                      \
        if (!ours(path)) return real(dir, path, flags, mode);                       \
        pthread_mutex_lock(&names);                                                 \
        int existed = access(path, F_OK) == 0;                                      \
        int fd = opened(path, flags, existed, real(dir, path, flags, mode));        \
        pthread_mutex_unlock(&names);                                               \
        return fd;                                                                  \
    }
OPENAT(openat)
OPENAT(openat64)

#define PWRITE(name)                                                                \
    ssize_t name(int fd, const void *bytes, size_t size, off_t offset) {            \
        char path[4096];                                                            \
        if (ours_fd(fd, path, sizeof path))                                         \
            note("write", inode_of(fd), (uint64_t)offset, size, bytes, size, NULL, 0); \
        return REAL(name)(fd, bytes, size, offset);                                 \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[4096];
    if (ours_fd(fd, path, sizeof path)) {
        struct stat found;
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        off_t at = appends && fstat(fd, &found) == 0 ? found.st_size : lseek(fd, 0, SEEK_CUR);
        note("write", inode_of(fd), (uint64_t)at, size, bytes, size, NULL, 0);
    }
    return REAL(write)(fd, bytes, size);
}

#define TRUNCATE(name)                                                              \
    int name(int fd, off_t size) {                                                  \
        char path[4096];                                                            \
        if (ours_fd(fd, path, sizeof path))                                         \
            note("size", inode_of(fd), 0, (uint64_t)size, NULL, 0, NULL, 0);        \
        return REAL(name)(fd, size);                                                \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                                                  \
    int name(int fd) {                                                              \
        char path[4096];                                                            \
        uint64_t from = trace >= 0 ? length_now() : 0;                              \
        int done = REAL(name)(fd);                                                  \
        if (done == 0 && ours_fd(fd, path, sizeof path)) {                          \
            struct stat found;                                                      \
            int folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);          \
            note(folder ? "folder" : "sync", found.st_ino, from, 0, path, strlen(path), NULL, 0); \
        }                                                                           \
        return done;                                                                \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    if (!ours(from)) return REAL(rename)(from, to);
    pthread_mutex_lock(&names);
    int done = REAL(rename)(from, to);
    if (done == 0) note("rename", 0, 0, 0, from, strlen(from), to, strlen(to));
    pthread_mutex_unlock(&names);
    return done;
}

int linkat(int old_dir, const char *from, int new_dir, const char *to, int flags) {
    if (!ours(from)) return REAL(linkat)(old_dir, from, new_dir, to, flags);
    pthread_mutex_lock(&names);
    int done = REAL(linkat)(old_dir, from, new_dir, to, flags);
    if (done == 0) note("link", 0, 0, 0, from, strlen(from), to, strlen(to));
    pthread_mutex_unlock(&names);
    return done;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int renameat2(int old_dir, const char *from, int new_dir, const char *to, unsigned flags) {
    if (!ours(from)) return REAL(renameat2)(old_dir, from, new_dir, to, flags);
    pthread_mutex_lock(&names);
    int done = REAL(renameat2)(old_dir, from, new_dir, to, flags);
    if (done == 0) note("rename", 0, 0, 0, from, strlen(from), to, strlen(to));
    pthread_mutex_unlock(&names);
    return done;
}

int unlink(const char *path) {
    if (!ours(path)) return REAL(unlink)(path);
    pthread_mutex_lock(&names);
    int done = REAL(unlink)(path);
    if (done == 0) note("unlink", 0, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&names);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (!ours(path)) return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&names);
    int done = REAL(mkdir)(path, mode);
    if (done == 0) note("mkdir", 0, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&names);
    return done;
}

/* Preloaded into a host: its disk fails as the page of numbers in the file KEYSTEAD_TEST_FAULTS says, which a test
   may change at any time. A rule kills the process, or makes a call fail, at the nth call of a kind on a file
   under KEYSTEAD_TEST_DISK_ROOT whose path has a word; a quota ends the room for new data; syncs may be slow.
   What happens is counted in the same page. Nothing is made up: a call that fails has done what a disk
   may have done by then, and one that is not meant goes through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The kinds of calls. */
enum { READ = 1, WRITE = 2, SYNC = 4, NAME = 8, SIZE = 16 };
/* What a rule does. */
enum { NOTHING, KILL_BEFORE, KILL_AFTER, KILL_WITHIN, FAIL };

struct page {
    /* The rule: what, on which kinds of calls, after how many more of them, and for how many. */
    int64_t what, kinds, after, times;
    /* Room for new data, when there is an end of it. */
    int64_t bounded, room;
    /* How long a sync takes, in microseconds. */
    int64_t sync_us;
    /* How often the rule was carried out, how often there was no room, and calls that were seen. */
    int64_t struck, full, seen;
    char word[64];
};

static struct page *page;
static const char *root;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("KEYSTEAD_TEST_FAULTS");
    root = getenv("KEYSTEAD_TEST_DISK_ROOT");
    if (!path || !root) return;
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) page = at;
}

static int64_t load(int64_t *number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }
static int64_t add(int64_t *number, int64_t by) { return __atomic_add_fetch(number, by, __ATOMIC_SEQ_CST); }

static int ours(const char *path) { return page && path && strncmp(path, root, strlen(root)) == 0; }

static int ours_fd(int fd, char *path, size_t size) {
    char link[64];
    if (!page || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What the rule wants of this call. Dies here when it is to die before it. */
static int64_t meant(int64_t kind, const char *path) {
    add(&page->seen, 1);
    int64_t what = load(&page->what);
    if (what == NOTHING || !(load(&page->kinds) & kind) || !strstr(path, page->word)) return NOTHING;
    if (add(&page->after, -1) >= 0) return NOTHING;
    if (add(&page->times, -1) < 0) return NOTHING;
    add(&page->struck, 1);
    if (what == KILL_BEFORE) die();
    return what;
}

/* How many bytes from `offset` on there is room for; what a file has already is its own. */
static size_t room_for(int fd, size_t size, off_t offset) {
    if (!page || !load(&page->bounded)) return size;
    off_t hole = lseek(fd, offset, SEEK_HOLE);
    struct stat found;
    if (hole < 0) hole = fstat(fd, &found) == 0 && found.st_size > offset ? found.st_size : offset;
    size_t own = hole > offset ? (size_t)(hole - offset) : 0;
    if (own >= size) return size;
    int64_t rest = add(&page->room, -(int64_t)(size - own));
    if (rest >= 0) return size;
    add(&page->full, 1);
    size_t lack = (size_t)-rest < size - own ? (size_t)-rest : size - own;
    add(&page->room, (int64_t)lack);
    return size - lack;
}

#define PWRITE(name)                                                                    \
    ssize_t name(int fd, const void *bytes, size_t size, off_t offset) {                \
        char path[4096];                                                                \
        if (!ours_fd(fd, path, sizeof path)) return REAL(name)(fd, bytes, size, offset); \
        int64_t what = meant(WRITE, path);                                              \
        if (what == KILL_WITHIN || what == FAIL) {                                      \
            size_t half = size / 2;                                                     \
            if (half) REAL(name)(fd, bytes, half, offset);                              \
            if (what == KILL_WITHIN) die();                                             \
            errno = EIO;                                                                \
            return -1;                                                                  \
        }                                                                               \
        size_t fits = room_for(fd, size, offset);                                       \
        if (!fits && size) {                                                            \
            errno = ENOSPC;                                                             \
            return -1;                                                                  \
        }                                                                               \
        ssize_t done = REAL(name)(fd, bytes, fits, offset);                             \
        if (what == KILL_AFTER) die();                                                  \
        return done;                                                                    \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[4096];
    if (!ours_fd(fd, path, sizeof path)) return REAL(write)(fd, bytes, size);
    int64_t what = meant(WRITE, path);
    if (what == KILL_WITHIN || what == FAIL) {
        if (size / 2) REAL(write)(fd, bytes, size / 2);
        if (what == KILL_WITHIN) die();
        errno = EIO;
        return -1;
    }
    /* Files that are written so are new ones. */
    off_t at = lseek(fd, 0, SEEK_CUR);
    size_t fits = room_for(fd, size, at);
    lseek(fd, at, SEEK_SET);
    if (!fits && size) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t done = REAL(write)(fd, bytes, fits);
    if (what == KILL_AFTER) die();
    return done;
}

#define PREAD(name)                                                                     \
    ssize_t name(int fd, void *bytes, size_t size, off_t offset) {                      \
        char path[4096];                                                                \
        if (ours_fd(fd, path, sizeof path) && meant(READ, path) == FAIL) {              \
            errno = EIO;                                                                \
            return -1;                                                                  \
        }                                                                               \
        return REAL(name)(fd, bytes, size, offset);                                     \
    }
PREAD(pread)
PREAD(pread64)

#define SYNCS(name)                                                                     \
    int name(int fd) {                                                                  \
        char path[4096];                                                                \
        if (!ours_fd(fd, path, sizeof path)) return REAL(name)(fd);                     \
        int64_t what = meant(SYNC, path);                                               \
        int64_t slow = load(&page->sync_us);                                            \
        if (slow > 0) usleep((useconds_t)slow);                                         \
        if (what == FAIL) {                                                             \
            errno = EIO;                                                                \
            return -1;                                                                  \
        }                                                                               \
        int done = REAL(name)(fd);                                                      \
        if (what == KILL_AFTER || what == KILL_WITHIN) die();                           \
        return done;                                                                    \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define TRUNCATE(name)                                                                  \
    int name(int fd, off_t size) {                                                      \
        char path[4096];                                                                \
        if (!ours_fd(fd, path, sizeof path)) return REAL(name)(fd, size);               \
        int64_t what = meant(SIZE, path);                                               \
        if (what == FAIL) {                                                             \
            errno = EIO;                                                                \
            return -1;                                                                  \
        }                                                                               \
        int done = REAL(name)(fd, size);                                                \
        if (what == KILL_AFTER || what == KILL_WITHIN) die();                           \
        return done;                                                                    \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define NAMES(path, call)                                                               \
    int64_t what = ours(path) ? meant(NAME, path) : NOTHING;                            \
    if (what == FAIL) {                                                                 \
        errno = EIO;                                                                    \
        return -1;                                                                      \
    }                                                                                   \
    int done = call;                                                                    \
    if (what == KILL_AFTER || what == KILL_WITHIN) die();                               \
    return done;

int rename(const char *from, const char *to) { NAMES(from, REAL(rename)(from, to)) }

int linkat(int old_dir, const char *from, int new_dir, const char *to, int flags) {
    NAMES(from, REAL(linkat)(old_dir, from, new_dir, to, flags))
}

int unlink(const char *path) { NAMES(path, REAL(unlink)(path)) }

int mkdir(const char *path, mode_t mode) { NAMES(path, REAL(mkdir)(path, mode)) }

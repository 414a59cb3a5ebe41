/*
 * Loaded in front of the C library (LD_PRELOAD): one of a process's calls on files fails, or ends the process.
 *
 *   FAULT=KIND:N:ACTION  the N-th call of KIND, counted from 1
 *   FAULT_COUNTS=FILE    at the process's end, how many calls of each kind there were
 *
 * KIND: read; write, open (to write), sync, rename, make (a folder), size, remove; change: any but read.
 * ACTION: a number: the call fails with it; a number and +: so do all after it; short: half of the bytes asked for;
 * end: no byte, as at the end of a file; kill: SIGKILL before the call; torn: half of the bytes, then SIGKILL.
 *
 * Files of the system's own (/proc, /sys, pipes, terminals) do not count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum kind { READ, WRITE, OPEN, SYNC, RENAME, MAKE, SIZE, REMOVE, CHANGE, KINDS };
static const char *const names[KINDS] = {"read", "write", "open", "sync", "rename", "make", "size", "remove", "change"};

enum action { NOTHING, FAIL, SHORT, END, TORN };

static long counts[KINDS];
static enum kind fault_kind = KINDS;
static long fault_at;
static const char *fault_action;

__attribute__((constructor)) static void begin(void) {
    const char *fault = getenv("FAULT");
    char kind[16];
    int used = 0;
    if (!fault || sscanf(fault, "%15[a-z]:%ld:%n", kind, &fault_at, &used) != 2 || !used) return;
    fault_action = fault + used;
    for (int i = 0; i < KINDS; i++) {
        if (!strcmp(kind, names[i])) fault_kind = i;
    }
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULT_COUNTS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int i = 0; i < KINDS; i++) fprintf(file, "%s %ld\n", names[i], counts[i]);
    fclose(file);
}

static int counted(int fd) {
    int saved = errno;
    struct stat of;
    struct statfs on;
    int yes = fstat(fd, &of) == 0 && S_ISREG(of.st_mode) && fstatfs(fd, &on) == 0 && on.f_type != 0x9fa0 /* proc */
              && on.f_type != 0x62656572 /* sysfs */ && on.f_type != 0x63677270 /* cgroup */ && on.f_type != 0x27e0eb;
    errno = saved;
    return yes;
}

/* What happens to this call. Where it fails, errno is set. */
static enum action meet(enum kind kind) {
    long call = __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);
    if (kind != READ) {
        long change = __atomic_add_fetch(&counts[CHANGE], 1, __ATOMIC_SEQ_CST);
        if (fault_kind == CHANGE) call = change;
    }
    if (fault_kind != kind && !(fault_kind == CHANGE && kind != READ)) return NOTHING;
    if (call != fault_at && !(call > fault_at && strchr(fault_action, '+'))) return NOTHING;
    if (!strcmp(fault_action, "kill")) raise(SIGKILL);
    if (!strcmp(fault_action, "short")) return SHORT;
    if (!strcmp(fault_action, "end")) return END;
    if (!strcmp(fault_action, "torn")) {
        if (kind != WRITE) raise(SIGKILL);
        return TORN;
    }
    errno = atoi(fault_action);
    return FAIL;
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name)

/* The bytes that a read or write is given, of those asked for. */
#define TRANSFER(kind, call_of) \
    do { \
        switch (counted(fd) ? meet(kind) : NOTHING) { \
        case FAIL: return -1; \
        case END: return 0; \
        case SHORT: if (len > 1) len /= 2; break; \
        case TORN: len /= 2; (void)!(call_of); raise(SIGKILL); break; \
        case NOTHING: break; \
        } \
        return call_of; \
    } while (0)

ssize_t read(int fd, void *to, size_t len) { NEXT(read); TRANSFER(READ, next(fd, to, len)); }
ssize_t pread64(int fd, void *to, size_t len, off64_t at) { NEXT(pread64); TRANSFER(READ, next(fd, to, len, at)); }
ssize_t write(int fd, const void *from, size_t len) { NEXT(write); TRANSFER(WRITE, next(fd, from, len)); }
ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at) { NEXT(pwrite64); TRANSFER(WRITE, next(fd, from, len, at)); }
ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t len, unsigned flags) {
    NEXT(copy_file_range);
    TRANSFER(WRITE, next(in, from, fd, to, len, flags));
}

/* Vectors are handed on one at a time where a part of them is asked for: fewer bytes are always right. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    switch (counted(fd) ? meet(WRITE) : NOTHING) {
    case FAIL: return -1;
    case END: return 0;
    case SHORT: return next(fd, parts, 1);
    case TORN: (void)!next(fd, parts, 1); raise(SIGKILL); break;
    case NOTHING: break;
    }
    return next(fd, parts, count);
}

/* The kernel's copies are refused, as some file systems do; what is copied by hand instead is counted. */
ssize_t sendfile64(int to, int from, off64_t *at, size_t len) { (void)to, (void)from, (void)at, (void)len; errno = EINVAL; return -1; }

#define CHANGES(kind, call_of) do { if (meet(kind) == FAIL) return -1; return call_of; } while (0)

int fsync(int fd) { NEXT(fsync); CHANGES(SYNC, next(fd)); }
int fdatasync(int fd) { NEXT(fdatasync); CHANGES(SYNC, next(fd)); }
int ftruncate64(int fd, off64_t len) { NEXT(ftruncate64); CHANGES(SIZE, next(fd, len)); }
int rename(const char *from, const char *to) { NEXT(rename); CHANGES(RENAME, next(from, to)); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); CHANGES(MAKE, next(path, mode)); }
int unlink(const char *path) { NEXT(unlink); CHANGES(REMOVE, next(path)); }
int unlinkat(int at, const char *path, int flags) { NEXT(unlinkat); CHANGES(REMOVE, next(at, path, flags)); }
int rmdir(const char *path) { NEXT(rmdir); CHANGES(REMOVE, next(path)); }

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if ((flags & O_ACCMODE) != O_RDONLY && strncmp(path, "/dev/", 5) && meet(OPEN) == FAIL) return -1;
    return next(path, flags, mode);
}

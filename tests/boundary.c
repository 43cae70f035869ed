/*
 * Kills the process at the n-th boundary of a system call that makes files last, moves,
 * grows, shrinks or removes them: right before the call, or right after it. Loaded with
 * LD_PRELOAD, n is in TXSTATHAT_DIE_AT. Needs no header and no library to be built.
 */
typedef long off;
extern void *dlsym(void *, const char *);
extern char *getenv(const char *);
extern long atol(const char *);
extern int getpid(void), kill(int, int);

static long left = -1;

static void boundary(void) {
    if (left < 0) {
        const char *at = getenv("TXSTATHAT_DIE_AT");
        left = at ? atol(at) : 0;
    }
    if (left > 0 && __sync_sub_and_fetch(&left, 1) == 0)
        kill(getpid(), 9);
}

#define AT_BOUNDARIES(type, name, parameters, arguments)             \
    type name parameters {                                           \
        static type (*next) parameters;                              \
        if (!next)                                                   \
            next = (type (*) parameters) dlsym((void *) -1L, #name); \
        boundary();                                                  \
        type result = next arguments;                                \
        boundary();                                                  \
        return result;                                               \
    }

AT_BOUNDARIES(int, fsync, (int fd), (fd))
AT_BOUNDARIES(int, fdatasync, (int fd), (fd))
AT_BOUNDARIES(int, rename, (const char *a, const char *b), (a, b))
AT_BOUNDARIES(int, unlink, (const char *path), (path))
AT_BOUNDARIES(int, ftruncate, (int fd, off size), (fd, size))
AT_BOUNDARIES(int, ftruncate64, (int fd, off size), (fd, size))
AT_BOUNDARIES(int, posix_fallocate, (int fd, off from, off size), (fd, from, size))
AT_BOUNDARIES(int, posix_fallocate64, (int fd, off from, off size), (fd, from, size))
AT_BOUNDARIES(long, pwrite, (int fd, const void *b, unsigned long n, off at), (fd, b, n, at))
AT_BOUNDARIES(long, pwrite64, (int fd, const void *b, unsigned long n, off at), (fd, b, n, at))

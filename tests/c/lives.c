/*
 * Long and many lives: 256 sessions at once, files that change while they are opened, and a mixed load of 16 threads, for a second
 * or for as many as the second argument says. Memory, descriptors and threads are then as they were.
 */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 256
#define THREADS 16
/* Sanitizers keep what was freed for a while. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const uint64_t seeds[2] = {1, 2};
static const int32_t labels[2] = {3, 4};
static float expected[2 * IMAGE];
static const char *root;

static void draws_the_same(onestep_session *session) {
    onestep_error mine;
    float out[2 * IMAGE];
    onestep_request *request = onestep_request_new();
    CHECK(onestep_request_set_seeds(request, seeds, 2, &mine) == ONESTEP_OK);
    CHECK(onestep_request_set_labels(request, labels, 2, &mine) == ONESTEP_OK);
    CHECK(onestep_session_sample(session, request, NULL, out, sizeof out, &mine) == ONESTEP_OK);
    CHECK(memcmp(out, expected, sizeof out) == 0);
    onestep_request_free(request);
}

static onestep_session *sessions[SESSIONS];

static void *draw_some(void *first) {
    for (size_t i = (size_t)first; i < SESSIONS; i += THREADS) draws_the_same(sessions[i]);
    return NULL;
}

static void all_threads(void *(*work)(void *)) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void many_sessions(void) {
    onestep_model *model = open_student(root);
    for (size_t i = 0; i < SESSIONS; i++) sessions[i] = new_session(model, 1 + i % 2);
    onestep_model_free(model);
    all_threads(draw_some);
    for (size_t i = 0; i < SESSIONS; i++) onestep_session_free(sessions[i]);
}

/* A file, and the bytes that belong into it. */
static char place[] = "/tmp/onestep-lives-XXXXXX", file[64], other[64];
static char *bytes;
static size_t size;
static int over;

static void write_bytes(const char *path, size_t len) {
    FILE *out = fopen(path, "wb");
    CHECK(out != NULL && fwrite(bytes, 1, len, out) == len && fclose(out) == 0);
}

static void *change_it(void *unused) {
    (void)unused;
    for (int turn = 0; !__atomic_load_n(&over, __ATOMIC_SEQ_CST); turn++) {
        /* Written anew in its place, cut, and replaced by another file of its name. */
        write_bytes(file, turn % 3 ? size : size / 2);
        CHECK(truncate(file, (off_t)(size * (size_t)(turn % 5) / 5)) == 0);
        write_bytes(other, size);
        CHECK(rename(other, file) == 0);
    }
    return NULL;
}

static void files_that_change(int turns) {
    CHECK(mkdtemp(place) != NULL);
    snprintf(file, sizeof file, "%s/model.safetensors", place);
    snprintf(other, sizeof other, "%s/other", place);
    const char *path = path_of(root, "models/digits-student.safetensors");
    struct stat found;
    CHECK(stat(path, &found) == 0);
    size = (size_t)found.st_size;
    bytes = malloc(size);
    FILE *in = fopen(path, "rb");
    CHECK(bytes != NULL && in != NULL && fread(bytes, 1, size, in) == size && fclose(in) == 0);
    write_bytes(file, size);
    pthread_t changes;
    CHECK(pthread_create(&changes, NULL, change_it, NULL) == 0);
    for (int turn = 0; turn < turns; turn++) {
        onestep_model *model = NULL;
        int32_t status = onestep_model_open_file(file, NULL, &model, &err);
        CHECK(status == ONESTEP_OK || status == ONESTEP_BAD_MODEL || status == ONESTEP_IO);
        CHECK((model != NULL) == (status == ONESTEP_OK) && (err.message[0] != 0) == (status != ONESTEP_OK));
        onestep_model_free(model);
    }
    __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(changes, NULL) == 0);

    /* What is open no longer needs its file, which may be of anybody's name and not be written to. */
    snprintf(other, sizeof other, "%s/\xC3\xA9t\xC3\xA9", place);
    CHECK(rename(file, other) == 0 && chmod(other, 0400) == 0 && chmod(place, 0500) == 0);
    onestep_model *model = open_file(other);
    CHECK(chmod(place, 0700) == 0 && unlink(other) == 0);
    onestep_session *session = new_session(model, 1);
    draws_the_same(session);
    onestep_session_free(session);
    onestep_model_free(model);
    /* A name that is no UTF-8 is refused with a word. */
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_open_file("/tmp/\xFF.safetensors", NULL, &model, &err));
    CHECK(rmdir(place) == 0);
    free(bytes);
}

static double seconds;
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
static double end;

static void *cancel_soon(void *token) {
    usleep(300);
    onestep_cancel_trigger(token);
    return NULL;
}

/* Models opened and closed, sessions, images, cancels and mistakes, one after the other; no two threads in step. */
static void *live(void *number) {
    unsigned state = 1 + (unsigned)(size_t)number;
    onestep_error mine;
    while (now() < end) {
        const int teacher = rand_r(&state) % 4 == 0;
        char path[4096];
        snprintf(path, sizeof path, "%s/models/digits-%s.safetensors", root, teacher ? "teacher" : "student");
        onestep_model *model = NULL;
        CHECK(onestep_model_open_file(path, NULL, &model, &mine) == ONESTEP_OK);
        onestep_options *options = onestep_options_new();
        CHECK(onestep_options_set_threads(options, 1 + (uint32_t)rand_r(&state) % 3, &mine) == ONESTEP_OK);
        onestep_session *session = NULL;
        CHECK(onestep_session_new(model, options, &session, &mine) == ONESTEP_OK);
        onestep_cancel *token = onestep_cancel_new();
        for (int call = 0; call < 4; call++) {
            if (!teacher) {
                draws_the_same(session);
                continue;
            }
            float out[2 * IMAGE];
            onestep_request *request = onestep_request_new();
            CHECK(onestep_request_set_seeds(request, seeds, 2, &mine) == ONESTEP_OK);
            CHECK(onestep_session_sample(session, request, NULL, out, sizeof out, &mine) == ONESTEP_INVALID_ARGUMENT);
            CHECK(onestep_request_set_labels(request, labels, 2, &mine) == ONESTEP_OK);
            CHECK(onestep_session_sample(session, request, NULL, out, 1, &mine) == ONESTEP_BUFFER_TOO_SMALL);
            CHECK(onestep_request_set_cancel(request, token, &mine) == ONESTEP_OK);
            pthread_t canceller;
            CHECK(pthread_create(&canceller, NULL, cancel_soon, token) == 0);
            int32_t status = onestep_session_sample(session, request, NULL, out, sizeof out, &mine);
            CHECK(status == ONESTEP_OK || status == ONESTEP_CANCELLED);
            CHECK(pthread_join(canceller, NULL) == 0);
            onestep_cancel_reset(token);
            onestep_request_free(request);
        }
        onestep_cancel_free(token);
        onestep_session_free(session);
        onestep_options_free(options);
        onestep_model_free(model);
        CHECK(onestep_model_open_file("/nowhere", NULL, &model, &mine) == ONESTEP_IO);
    }
    return NULL;
}

static long entries(const char *folder) {
    long count = 0;
    DIR *open = opendir(folder);
    CHECK(open != NULL);
    while (readdir(open)) count++;
    closedir(open);
    return count;
}

static long resident(void) {
    malloc_trim(0);
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%*d %ld", &pages) == 1 && fclose(statm) == 0);
    return pages * sysconf(_SC_PAGESIZE) / 1024;
}

/* In rounds, after each of which nothing is open. */
static void mixed_load(int said) {
    const double start = now();
    const int rounds = 20;
    long memory = 0, files = 0, threads = 0;
    for (int round = 0; round < rounds; round++) {
        end = start + seconds * (round + 1) / rounds;
        all_threads(live);
        const long found[3] = {resident(), entries("/proc/self/fd"), entries("/proc/self/task")};
        if (said) printf("%6.0f s: %ld KiB, %ld descriptors, %ld threads\n", now() - start, found[0], found[1] - 3, found[2] - 2);
        fflush(stdout);
        /* The first rounds leave what the allocator and the threads keep for later. */
        if (round == 2) {
            memory = found[0];
            files = found[1];
            threads = found[2];
        }
        if (round > 2) {
            CHECK(found[0] <= memory + (SANITIZED ? 1024 : 2) * 1024);
            CHECK(found[1] == files && found[2] == threads);
        }
    }
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    /* Freed memory of sixteen threads' arenas is given back in pieces, and would hide what is lost. */
    mallopt(M_ARENA_MAX, 1);
    root = argv[1];
    seconds = argc > 2 ? atof(argv[2]) : 1;
    onestep_model *model = open_student(root);
    onestep_session *session = new_session(model, 1);
    onestep_request *request = digits(seeds, labels, 2);
    CHECK_OK(onestep_session_sample(session, request, NULL, expected, sizeof expected, &err));
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    many_sessions();
    files_that_change(30);
    mixed_load(argc > 2);
    return 0;
}

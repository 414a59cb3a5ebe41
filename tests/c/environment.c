/* What a host may have done to its thread: another rounding mode, small stacks, signals blocked later, another locale, a fork. */
#define _GNU_SOURCE
#include "check.h"
#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static const uint64_t seeds[2] = {1, 2};
static const int32_t labels[2] = {3, 4};
static float expected[2 * IMAGE];
static float expected_noise[2 * IMAGE];
static const char *root;

static void draw(onestep_model *model, uint32_t threads, float *out) {
    onestep_session *session = new_session(model, threads);
    onestep_request *request = digits(seeds, labels, 2);
    CHECK_OK(onestep_session_sample(session, request, NULL, out, 2 * IMAGE * sizeof(float), &err));
    onestep_request_free(request);
    onestep_session_free(session);
}

static void same_images(void) {
    static float out[2 * IMAGE], noise[2 * IMAGE];
    onestep_model *model = open_student(root);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        draw(model, threads, out);
        CHECK(memcmp(out, expected, sizeof out) == 0);
    }
    CHECK_OK(onestep_noise_fill(model, seeds, 2, noise, 2 * IMAGE, &err));
    CHECK(memcmp(noise, expected_noise, sizeof noise) == 0);
    onestep_model_free(model);
}

/* The same bits, and the mode is as it was. */
static void floating_point_modes(void) {
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        CHECK(fesetround(modes[i]) == 0);
        same_images();
        CHECK(fegetround() == modes[i]);
    }
    feclearexcept(FE_ALL_EXCEPT);
    same_images();
    CHECK(fetestexcept(FE_ALL_EXCEPT) == 0);
#if defined(__x86_64__)
    /* Flush to zero, and denormals are zero, as games set them. */
    const unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    /* valgrind knows neither. */
    const unsigned int games = _mm_getcsr();
    same_images();
    CHECK(_mm_getcsr() == games);
    _mm_setcsr(before);
#endif
}

/* A signal that the host blocks after the session's threads began, and waits for, does not end up in one of those. */
static void signals(void) {
    onestep_model *model = open_student(root);
    onestep_session *session = new_session(model, 2);
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &mine, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    struct timespec second = {1, 0};
    CHECK(sigtimedwait(&mine, NULL, &second) == SIGUSR1);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &mine, NULL) == 0);
    onestep_session_free(session);
    onestep_model_free(model);
    /* The calling thread's own mask was never changed. */
    sigset_t now;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGTERM) == 0);
}

static void *on_small_stack(void *unused) {
    (void)unused;
    same_images();
    return NULL;
}

static void small_stacks(void) {
    const size_t sizes[] = {64 << 10, 96 << 10, 128 << 10, 256 << 10};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, sizes[i]) == 0);
        CHECK(pthread_create(&thread, &attributes, on_small_stack, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_attr_destroy(&attributes);
    }
}

/* A child of a process that has drawn draws with a session of its own. */
static void forks(void) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        same_images();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    root = argv[1];
    onestep_model *model = open_student(root);
    draw(model, 2, expected);
    CHECK_OK(onestep_noise_fill(model, seeds, 2, expected_noise, 2 * IMAGE, &err));
    onestep_model_free(model);
    floating_point_modes();
    signals();
    small_stacks();
    forks();
    /* Where there is such a locale: its comma reaches no number in a file or message. */
    if (setlocale(LC_ALL, "de_DE.UTF-8")) same_images();
    return 0;
}

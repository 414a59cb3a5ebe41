/* Cancelling, progress, BUSY, and sessions side by side. */
#include "check.h"
#include <pthread.h>

static const uint64_t seeds[4] = {1, 2, 3, 4};
static const int32_t labels[4] = {1, 2, 3, 4};

static onestep_session *shared_session;
static onestep_cancel *token;
static pthread_t calling_thread;
static int phase_seen = -1;
static uint32_t last_done, last_total, calls;

static int32_t progress(void *user, int32_t phase, uint32_t done, uint32_t total) {
    CHECK(user == &calls && pthread_equal(pthread_self(), calling_thread));
    CHECK(done <= total && (calls == 0 || done >= last_done));
    phase_seen = phase;
    last_done = done;
    last_total = total;
    calls++;
    return 0;
}

static int32_t stop_halfway(void *user, int32_t phase, uint32_t done, uint32_t total) {
    (void)user;
    (void)phase;
    return done >= total / 2;
}

/* A second thread enters the session while the first is inside: it must get BUSY. Then it cancels the first. */
static void *intrude(void *unused) {
    (void)unused;
    onestep_error mine;
    static float out[4 * IMAGE];
    onestep_request *request = digits(seeds, labels, 4);
    int32_t status = onestep_session_sample(shared_session, request, NULL, out, sizeof out, &mine);
    CHECK(status == ONESTEP_BUSY && mine.code == ONESTEP_BUSY);
    onestep_request_free(request);
    onestep_cancel_trigger(token);
    return NULL;
}

static int32_t let_another_in(void *user, int32_t phase, uint32_t done, uint32_t total) {
    (void)user;
    (void)phase;
    (void)total;
    if (done == 5) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, intrude, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    return 0;
}

static float expected[4 * IMAGE];

static void *draw_often(void *model) {
    onestep_session *session = NULL;
    onestep_error mine;
    CHECK(onestep_session_new(model, NULL, &session, &mine) == ONESTEP_OK);
    float *out = malloc(sizeof expected);
    CHECK(out != NULL);
    onestep_request *request = digits(seeds, labels, 4);
    for (int i = 0; i < 3; i++) {
        CHECK(onestep_session_sample(session, request, NULL, out, sizeof expected, &mine) == ONESTEP_OK);
        CHECK(memcmp(out, expected, sizeof expected) == 0);
    }
    onestep_request_free(request);
    onestep_session_free(session);
    free(out);
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    calling_thread = pthread_self();
    static float out[4 * IMAGE];
    onestep_model *teacher = open_teacher(argv[1]);
    shared_session = new_session(teacher, 2);
    token = onestep_cancel_new();
    onestep_request *request = digits(seeds, labels, 4);
    CHECK_OK(onestep_request_set_ddim(request, 2, 0, &err));
    CHECK_OK(onestep_request_set_cancel(request, token, &err));
#define SAMPLE() onestep_session_sample(shared_session, request, NULL, out, sizeof out, &err)

    /* Before: sticky, until it is reset. */
    onestep_cancel_trigger(token);
    CHECK_STATUS(ONESTEP_CANCELLED, SAMPLE());
    CHECK_STATUS(ONESTEP_CANCELLED, SAMPLE());
    onestep_cancel_reset(token);
    CHECK_OK(onestep_request_set_progress(request, progress, &calls, &err));
    CHECK_OK(SAMPLE());
    CHECK(phase_seen == ONESTEP_PHASE_SAMPLE && last_done == last_total && last_total % 2 == 0 && calls > 4);
    memcpy(expected, out, sizeof out);

    /* During, from another thread, which is refused meanwhile. After: the session is usable. */
    CHECK_OK(onestep_request_set_progress(request, let_another_in, NULL, &err));
    CHECK_STATUS(ONESTEP_CANCELLED, SAMPLE());
    onestep_cancel_reset(token);
    CHECK_OK(onestep_request_set_progress(request, NULL, NULL, &err));
    CHECK_OK(SAMPLE());
    CHECK(memcmp(expected, out, sizeof out) == 0);
    onestep_cancel_trigger(token); /* too late for the call that ended */
    CHECK_OK(onestep_request_set_cancel(request, NULL, &err));
    CHECK_OK(SAMPLE());

    /* By the progress callback. */
    CHECK_OK(onestep_request_set_progress(request, stop_halfway, NULL, &err));
    CHECK_STATUS(ONESTEP_CANCELLED, SAMPLE());
    onestep_request_free(request);
    onestep_session_free(shared_session);

    /* Opening, and a whole session; the token may be freed at once. */
    onestep_options *options = onestep_options_new();
    onestep_model *model = NULL;
    calls = 0;
    CHECK_OK(onestep_options_set_progress(options, progress, &calls, &err));
    CHECK_OK(onestep_model_open_file(path_of(argv[1], TEACHER), options, &model, &err));
    CHECK(phase_seen == ONESTEP_PHASE_PREPARE && calls > 10);
    onestep_model_free(model);
    CHECK_OK(onestep_options_set_cancel(options, token, &err));
    CHECK_STATUS(ONESTEP_CANCELLED, onestep_model_open_file(path_of(argv[1], TEACHER), options, &model, &err));
    onestep_cancel_free(token);
    CHECK_OK(onestep_session_new(teacher, options, &shared_session, &err));
    request = digits(seeds, labels, 4);
    CHECK_STATUS(ONESTEP_CANCELLED, SAMPLE());
    onestep_request_free(request);
    onestep_session_free(shared_session);
    onestep_options_free(options);
    onestep_model_free(teacher);

    /* Four threads, each its own session of one model. */
    onestep_model *student = open_student(argv[1]);
    onestep_session *session = new_session(student, 1);
    request = digits(seeds, labels, 4);
    CHECK_OK(onestep_session_sample(session, request, NULL, expected, sizeof expected, &err));
    onestep_request_free(request);
    onestep_session_free(session);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, draw_often, student) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    onestep_model_free(student);
    return 0;
}

/* Sampling: seeds, batches, threads, noise, labels, samplers, and the bare network. */
#include "check.h"

#include <math.h>

enum { BATCH = 7 };
static const uint64_t seeds[BATCH] = {3, 0, UINT64_MAX, 1, 3, 99, 12345678901234567u};
static const int32_t labels[BATCH] = {0, 1, 2, 3, 4, 5, 9};

static void draw(onestep_session *session, onestep_request *request, float *out, size_t n) {
    CHECK_OK(onestep_session_sample(session, request, NULL, out, n * IMAGE * sizeof *out, &err));
}

static void same_in_every_batch(onestep_model *model) {
    static float together[BATCH * IMAGE], with_two[BATCH * IMAGE], alone[IMAGE];
    onestep_session *one = new_session(model, 1), *two = new_session(model, 2);
    onestep_request *request = digits(seeds, labels, BATCH);
    draw(one, request, together, BATCH);
    draw(two, request, with_two, BATCH);
    CHECK(memcmp(together, with_two, sizeof together) == 0);
    for (size_t i = 0; i < BATCH; i++) {
        onestep_request *single = digits(&seeds[i], &labels[i], 1);
        draw(i % 2 ? one : two, single, alone, 1);
        CHECK(memcmp(alone, together + i * IMAGE, sizeof alone) == 0);
        onestep_request_free(single);
    }
    /* The same seed under another label is another image. */
    CHECK(memcmp(together, together + 4 * IMAGE, sizeof alone) != 0);
    onestep_request_free(request);
    onestep_session_free(one);
    onestep_session_free(two);
}

static void noise_and_network(onestep_model *model) {
    static float drawn[2 * IMAGE], noise[2 * IMAGE], again[2 * IMAGE], eps[2 * IMAGE];
    static const int32_t timesteps[2] = {999, 999};
    onestep_session *session = new_session(model, 0);
    onestep_request *request = digits(seeds, labels, 2);
    draw(session, request, drawn, 2);

    CHECK_OK(onestep_noise_fill(model, seeds, 2, noise, 2 * IMAGE, &err));
    CHECK_OK(onestep_noise_fill(model, seeds + 1, 1, again, IMAGE, &err));
    CHECK(memcmp(noise + IMAGE, again, IMAGE * sizeof *again) == 0);
    CHECK_STATUS(ONESTEP_BUFFER_TOO_SMALL, onestep_noise_fill(model, seeds, 2, noise, 2 * IMAGE - 1, &err));

    /* Noise in place of seeds, and beside them. */
    CHECK_OK(onestep_request_set_noise(request, noise, 2 * IMAGE, &err));
    draw(session, request, again, 2);
    CHECK(memcmp(drawn, again, sizeof drawn) == 0);
    CHECK_OK(onestep_request_set_seeds(request, NULL, 0, &err));
    draw(session, request, again, 2);
    CHECK(memcmp(drawn, again, sizeof drawn) == 0);

    /* A student is x_T - network(x_T, 999). */
    CHECK_OK(onestep_session_predict(session, noise, timesteps, labels, 2, eps, 2 * IMAGE, &err));
    for (size_t i = 0; i < 2 * IMAGE; i++) CHECK(noise[i] - eps[i] == drawn[i]);
    CHECK_STATUS(ONESTEP_BUFFER_TOO_SMALL,
                 onestep_session_predict(session, noise, timesteps, labels, 2, eps, 2 * IMAGE - 1, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_predict(session, noise, timesteps, NULL, 2, eps, 2 * IMAGE, &err));
    static const float times[2] = {999, 998.5f}, never[2] = {999, NAN};
    static float at[2 * IMAGE];
    CHECK_OK(onestep_session_predict_at(session, noise, times, labels, 2, at, 2 * IMAGE, &err));
    CHECK(memcmp(at, eps, IMAGE * sizeof *at) == 0);
    CHECK(memcmp(at + IMAGE, eps + IMAGE, IMAGE * sizeof *at) != 0);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_predict_at(session, noise, never, labels, 2, at, 2 * IMAGE, &err));
    CHECK(strstr(err.message, "times: NaN of image 1") != NULL);
    static const int32_t late[2] = {1000, 0};
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_predict(session, noise, late, labels, 2, eps, 2 * IMAGE, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_predict(session, noise, timesteps, labels, SIZE_MAX, eps, 2 * IMAGE, &err));

    /* Between two noises; the ends are the noises themselves. */
    static const float t[3] = {0, 0.5f, 1};
    static float between[3 * IMAGE];
    CHECK_OK(onestep_noise_interpolate(ONESTEP_INTERPOLATE_SLERP, noise, noise + IMAGE, IMAGE, t, 3, between,
                                       3 * IMAGE, &err));
    for (size_t i = 0; i < IMAGE; i++) {
        float a = between[i] - noise[i], b = between[2 * IMAGE + i] - noise[IMAGE + i];
        CHECK(a * a < 1e-10f && b * b < 1e-10f);
    }
    CHECK_STATUS(ONESTEP_BUFFER_TOO_SMALL, onestep_noise_interpolate(ONESTEP_INTERPOLATE_LERP, noise, noise, IMAGE, t,
                                                                     3, between, 3 * IMAGE - 1, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_noise_interpolate(7, noise, noise, IMAGE, t, 3, between, 3 * IMAGE, &err));
    onestep_request_free(request);
    onestep_session_free(session);
}

static void labels_and_seeds(onestep_model *model) {
    static float out[2 * IMAGE];
    static const int32_t high[2] = {0, 10}, low[2] = {-1, 0};
    onestep_session *session = new_session(model, 1);
    onestep_request *request = onestep_request_new();
#define REFUSED() CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, \
                               onestep_session_sample(session, request, NULL, out, sizeof out, &err))
    REFUSED(); /* neither seeds nor noise */
    CHECK_OK(onestep_request_set_seeds(request, seeds, 2, &err));
    REFUSED(); /* no labels */
    CHECK(strstr(err.message, "label") != NULL);
    CHECK_OK(onestep_request_set_labels(request, labels, 1, &err));
    REFUSED(); /* one label for two images */
    CHECK_OK(onestep_request_set_labels(request, high, 2, &err));
    REFUSED();
    CHECK(strstr(err.message, "10") != NULL);
    CHECK_OK(onestep_request_set_labels(request, low, 2, &err));
    REFUSED();
    CHECK_OK(onestep_request_set_labels(request, labels, 2, &err));
    CHECK_OK(onestep_request_set_noise(request, out, IMAGE, &err));
    REFUSED(); /* two seeds, noise for one */
    CHECK_OK(onestep_request_set_noise(request, out, IMAGE - 1, &err));
    REFUSED();
    CHECK_OK(onestep_request_set_noise(request, NULL, 0, &err));
    CHECK_OK(onestep_request_set_ddim(request, 10, 0, &err));
    REFUSED(); /* a sampler for a student */
    onestep_request_free(request);
    onestep_session_free(session);
}

/* Getting ready changes no image, and is refused as a call would be. */
static void prepared(onestep_model *model) {
    static float first[2 * IMAGE], again[2 * IMAGE];
    onestep_session *session = new_session(model, 2);
    onestep_request *request = digits(seeds, labels, 2);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_session_prepare(NULL, 1, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_session_prepare(session, 0, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_session_prepare(session, 4097, &err));
    CHECK(strstr(err.message, "4097") != NULL && strstr(err.message, "4096") != NULL);
    draw(session, request, first, 2);
    onestep_session_free(session);
    session = new_session(model, 2);
    CHECK_OK(onestep_session_prepare(session, 2, &err));
    draw(session, request, again, 2);
    CHECK(memcmp(first, again, sizeof first) == 0);
    onestep_request_free(request);
    onestep_session_free(session);
}

static void teacher(onestep_model *model) {
    static float ten[IMAGE], again[IMAGE], other[IMAGE];
    onestep_session *session = new_session(model, 2);
    onestep_request *request = digits(seeds, labels, 1);
    CHECK_OK(onestep_request_set_ddim(request, 10, 0, &err));
    draw(session, request, ten, 1);
    CHECK_OK(onestep_request_set_sampler(request, ONESTEP_SAMPLER_DDIM, ONESTEP_SPACING_LEADING, 10, 0, &err));
    draw(session, request, again, 1);
    CHECK(memcmp(ten, again, sizeof ten) == 0);
    /* An explicit sequence takes precedence over a count, and keeps eta. */
    static const int32_t schedule[10] = {900, 800, 700, 600, 500, 400, 300, 200, 100, 0};
    CHECK_OK(onestep_request_set_ddim(request, 3, 0, &err));
    CHECK_OK(onestep_request_set_schedule(request, schedule, 10, &err));
    draw(session, request, again, 1);
    CHECK(memcmp(ten, again, sizeof ten) == 0);
    CHECK_OK(onestep_request_set_schedule(request, NULL, 0, &err));
    draw(session, request, other, 1);
    CHECK(memcmp(ten, other, sizeof ten) != 0);

    /* Fresh noise comes from the seed: the same twice, and none without seeds. */
    CHECK_OK(onestep_request_set_ddim(request, 5, 1, &err));
    draw(session, request, ten, 1);
    draw(session, request, again, 1);
    CHECK(memcmp(ten, again, sizeof ten) == 0);
    CHECK_OK(onestep_request_set_sampler(request, ONESTEP_SAMPLER_DDPM, ONESTEP_SPACING_FILE, 5, 0, &err));
    draw(session, request, other, 1);
    CHECK_OK(onestep_request_set_noise(request, ten, IMAGE, &err));
    CHECK_OK(onestep_request_set_seeds(request, NULL, 0, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_sample(session, request, NULL, other, sizeof other, &err));
    CHECK(strstr(err.message, "seeds") != NULL);

    /* A consistency model's sampler is no diffusion model's. */
    CHECK_OK(onestep_request_set_seeds(request, seeds, 1, &err));
    CHECK_OK(onestep_request_set_noise(request, NULL, 0, &err));
    CHECK_OK(onestep_request_set_sampler(request, ONESTEP_SAMPLER_CONSISTENCY, ONESTEP_SPACING_FILE, 2, 0, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_sample(session, request, NULL, other, sizeof other, &err));
    CHECK(strstr(err.message, "sampler: consistency") != NULL);
    CHECK_OK(onestep_request_set_sampler(request, ONESTEP_SAMPLER_DDPM, ONESTEP_SPACING_FILE, 5, 0, &err));

    static const int32_t ascending[2] = {0, 5}, outside[1] = {1000};
    CHECK_OK(onestep_request_set_seeds(request, seeds, 1, &err));
    CHECK_OK(onestep_request_set_schedule(request, ascending, 2, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_sample(session, request, NULL, other, sizeof other, &err));
    CHECK_OK(onestep_request_set_schedule(request, outside, 1, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_session_sample(session, request, NULL, other, sizeof other, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_request_set_ddim(request, 5, -0.5f, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_request_set_guidance(request, NAN, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_request_set_sampler(request, 5, 0, 5, 0, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_request_set_sampler(request, 0, 5, 5, 0, &err));
    onestep_request_free(request);
    onestep_session_free(session);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    onestep_model *model = open_student(argv[1]);
    same_in_every_batch(model);
    noise_and_network(model);
    labels_and_seeds(model);
    prepared(model);
    onestep_session *session = new_session(model, 1);
    onestep_model_free(model); /* under a live session */
    static float out[IMAGE];
    onestep_request *request = digits(seeds, labels, 1);
    draw(session, request, out, 1);
    onestep_request_free(request);
    onestep_session_free(session);

    model = open_teacher(argv[1]);
    prepared(model);
    teacher(model);
    onestep_model_free(model);
    return 0;
}

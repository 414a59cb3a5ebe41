/* Packed files: made, opened by reading and by mapping, and what is refused. The second argument is a folder to write to. */
#include "check.h"

/* A model with this option, drawn from by one seed. */
static void draw(const char *path, const char *key, const char *value, float *out) {
    onestep_options *options = onestep_options_new();
    onestep_model *model = NULL;
    if (key) CHECK_OK(onestep_options_set(options, key, value, &err));
    CHECK_OK(onestep_model_open_file(path, options, &model, &err));
    onestep_options_free(options);
    onestep_session *session = new_session(model, 2);
    const uint64_t seed = 7;
    const int32_t label = 3;
    onestep_request *request = digits(&seed, &label, 1);
    CHECK_OK(onestep_session_sample(session, request, NULL, out, IMAGE * sizeof *out, &err));
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
}

static int progressed;
static int32_t progress(void *user, int32_t phase, uint32_t done, uint32_t total) {
    CHECK(user == &progressed && phase == ONESTEP_PHASE_WRITE && done <= total);
    progressed++;
    return 0;
}

int main(int argc, char **argv) {
    CHECK(argc > 2);
    char source[4096], packed[4096], other[4096];
    CHECK((size_t)snprintf(source, sizeof source, "%s/models/digits-student.safetensors", argv[1]) < sizeof source);
    CHECK((size_t)snprintf(packed, sizeof packed, "%s/packed.safetensors", argv[2]) < sizeof packed);
    CHECK((size_t)snprintf(other, sizeof other, "%s/nowhere/packed.safetensors", argv[2]) < sizeof other);

    float expected[IMAGE], found[IMAGE];
    draw(source, NULL, NULL, expected);
    onestep_options *options = onestep_options_new();
    CHECK_OK(onestep_options_set_progress(options, progress, &progressed, &err));
    CHECK_OK(onestep_model_pack_file(source, packed, options, &err));
    CHECK(progressed > 10);
    draw(packed, NULL, NULL, found);
    CHECK(memcmp(found, expected, sizeof expected) == 0);
    draw(packed, "memory", "map", found);
    CHECK(memcmp(found, expected, sizeof expected) == 0);
    /* Several at once share it, and a file that takes its place is another one. */
    onestep_model *models[3];
    CHECK_OK(onestep_options_set_progress(options, NULL, NULL, &err));
    CHECK_OK(onestep_options_set(options, "memory", "map", &err));
    for (int i = 0; i < 3; i++) CHECK_OK(onestep_model_open_file(packed, options, &models[i], &err));
#ifndef _WIN32 /* which replaces no file that is mapped */
    CHECK_OK(onestep_model_pack_file(source, packed, NULL, &err));
#endif
    for (int i = 0; i < 3; i++) {
        onestep_session *session = new_session(models[i], 1);
        onestep_model_free(models[i]);
        const uint64_t seed = 7;
        const int32_t label = 3;
        onestep_request *request = digits(&seed, &label, 1);
        CHECK_OK(onestep_session_sample(session, request, NULL, found, sizeof found, &err));
        CHECK(memcmp(found, expected, sizeof expected) == 0);
        onestep_request_free(request);
        onestep_session_free(session);
    }

    onestep_model *model = NULL;
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_open_file(source, options, &model, &err));
    CHECK(model == NULL && strstr(err.message, "no packed file") != NULL);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_pack_file(source, packed, options, &err));
    CHECK_STATUS(ONESTEP_BAD_MODEL, onestep_model_pack_file(packed, packed, NULL, &err));
    CHECK_STATUS(ONESTEP_IO, onestep_model_pack_file(source, other, NULL, &err));
    CHECK(strstr(err.message, "nowhere") != NULL);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_pack_file(NULL, packed, NULL, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_pack_file(source, NULL, NULL, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_options_set(options, "isa", "quantum", &err));
    CHECK_OK(onestep_options_set(options, "isa", "auto", &err));
    onestep_options_free(options);
    draw(packed, NULL, NULL, found);
    CHECK(memcmp(found, expected, sizeof expected) == 0);
    return 0;
}

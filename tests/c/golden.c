/* What every binding must give: the FNV-1a hashes (64 bits) that tests/golden/hosts.txt holds, of the model inside the
 * library: of the noise of seeds 0 to 7 as little-endian floats, and, under ONESTEP_ISA=portable, of their RGBA8 pixels with
 * labels 0 to 7, as they are and with colours multiplied by alpha. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <stdlib.h>

enum { COUNT = 8, FLOATS = COUNT * 4 * IMAGE, BYTES = FLOATS };

static unsigned long long fnv1a(const void *data, size_t size) {
    const unsigned char *bytes = data;
    unsigned long long hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    return hash;
}

static unsigned long long expected(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    char name[32], hash[32];
    unsigned long long found = 0;
    CHECK(file != NULL);
    while (fscanf(file, "%31s %31s", name, hash) == 2)
        if (strcmp(name, key) == 0) found = strtoull(hash, NULL, 16);
    fclose(file);
    CHECK(found != 0);
    return found;
}

int main(int argc, char **argv) {
    onestep_model *model;
    onestep_session *session;
    onestep_request *request = onestep_request_new();
    onestep_layout layout = layout_of(ONESTEP_FORMAT_RGBA8);
    uint64_t seeds[COUNT];
    int32_t labels[COUNT];
    static float noise[FLOATS];
    static unsigned char pixels[BYTES];
    CHECK(argc > 1);
    const char *hashes = path_of(argv[1], "tests/golden/hosts.txt");
    /* The library reads it once, at the first call that needs it. */
#ifdef _WIN32
    CHECK(_putenv("ONESTEP_ISA=portable") == 0);
#else
    CHECK(setenv("ONESTEP_ISA", "portable", 1) == 0);
#endif
    for (int i = 0; i < COUNT; i++) {
        seeds[i] = (uint64_t)i;
        labels[i] = i;
    }
    CHECK_OK(onestep_model_open_default(NULL, &model, &err));
    CHECK_OK(onestep_noise_fill(model, seeds, COUNT, noise, FLOATS, &err));
    CHECK(fnv1a(noise, sizeof noise) == expected(hashes, "noise"));

    CHECK_OK(onestep_session_new(model, NULL, &session, &err));
    CHECK_OK(onestep_request_set_seeds(request, seeds, COUNT, &err));
    CHECK_OK(onestep_request_set_labels(request, labels, COUNT, &err));
    CHECK_OK(onestep_session_sample(session, request, &layout, pixels, sizeof pixels, &err));
    CHECK(fnv1a(pixels, sizeof pixels) == expected(hashes, "pixels"));
    layout.flags = ONESTEP_FLAG_PREMULTIPLIED;
    CHECK_OK(onestep_session_sample(session, request, &layout, pixels, sizeof pixels, &err));
    CHECK(fnv1a(pixels, sizeof pixels) == expected(hashes, "premultiplied"));
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    return 0;
}

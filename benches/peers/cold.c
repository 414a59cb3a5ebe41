/* A fresh process's first image: opens a diffusers folder, predicts once, says how much memory that took. */
#include <onestep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static onestep_error err;

/* Ends the program, with 77 where this build or machine lacks what was asked for. */
static void check(int32_t status) {
    if (status == ONESTEP_OK) return;
    fprintf(stderr, "%s: %s\n", onestep_status_name(status), err.message);
    exit(status == ONESTEP_NOT_BUILT || status == ONESTEP_DEVICE_UNAVAILABLE ? 77 : 1);
}

static long peak_kib(void) {
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "VmHWM: %ld", &kib) != 1) {}
    if (file) fclose(file);
    return kib;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s FOLDER THREADS f32|bf16 fast|low\n", argv[0]);
        return 2;
    }
    onestep_model *model;
    onestep_session *session;
    onestep_options *options = onestep_options_new();
    int bf16 = strcmp(argv[3], "bf16") == 0;
    check(onestep_options_set_threads(options, (uint32_t)atoi(argv[2]), &err));
    check(onestep_options_set_precision(options, bf16 ? ONESTEP_PRECISION_BF16 : ONESTEP_PRECISION_F32, &err));
    check(onestep_options_set_role(options, ONESTEP_ROLE_TEACHER, &err));
    check(onestep_options_set(options, "memory", argv[4], &err));
    check(onestep_model_open_file(argv[1], options, &model, &err));
    check(onestep_session_new(model, options, &session, &err));

    uint64_t bytes;
    check(onestep_output_size(model, 1, NULL, &bytes, &err)); /* the default layout: f32, (n, c, h, w) */
    size_t n = (size_t)(bytes / sizeof(float));
    float *x = malloc(bytes), *eps = malloc(bytes);
    if (!x || !eps) return 1;
    const uint64_t seed = 0;
    const int32_t timestep = 999, label = 7;
    onestep_model_info info = {.struct_size = sizeof info};
    check(onestep_model_get_info(model, &info, &err));
    check(onestep_noise_fill(model, &seed, 1, x, n, &err));
    check(onestep_session_predict(session, x, &timestep, info.num_classes ? &label : NULL, 1, eps, n, &err));

    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += eps[i];
    printf("%ld %g\n", peak_kib(), sum);
    fflush(stdout);
    free(x);
    free(eps);
    onestep_session_free(session);
    onestep_model_free(model);
    onestep_options_free(options);
    return 0;
}

/* Ten handwritten digits, drawn by the student inside the library, side by side in a PGM picture.
 *
 *   cargo rustc --release --lib --crate-type cdylib
 *   cc -std=c99 -Iinclude examples/c/sample.c -Ltarget/release -lonestep -o sample
 *   LD_LIBRARY_PATH=target/release ./sample digits.pgm
 */
#include <onestep.h>
#include <stdio.h>

enum { DIGITS = 10, SIDE = 16 };

int main(int argc, char **argv) {
    uint64_t seeds[DIGITS];
    int32_t labels[DIGITS];
    for (int i = 0; i < DIGITS; i++) {
        seeds[i] = (uint64_t)i;
        labels[i] = i;
    }
    onestep_error err;
    onestep_model *model = NULL;
    onestep_session *session = NULL;
    onestep_request *request = onestep_request_new();
    /* F32 planes: one channel, so one float a pixel, in [-1, 1] (not clamped); rows of ten images side by side. */
    onestep_layout layout = {.struct_size = sizeof layout, .format = ONESTEP_FORMAT_F32_NCHW};
    float images[DIGITS][SIDE][SIDE];

    int32_t status = onestep_model_open_default(NULL, &model, &err);
    if (!status) status = onestep_session_new(model, NULL, &session, &err);
    if (!status) status = onestep_request_set_seeds(request, seeds, DIGITS, &err);
    if (!status) status = onestep_request_set_labels(request, labels, DIGITS, &err);
    if (!status) status = onestep_session_sample(session, request, &layout, images, sizeof images, &err);
    if (status) fprintf(stderr, "%s: %s\n", onestep_status_name(status), err.message);

    FILE *file = status ? NULL : fopen(argc > 1 ? argv[1] : "digits.pgm", "wb");
    if (file) {
        fprintf(file, "P5\n%d %d\n255\n", DIGITS * SIDE, SIDE);
        for (int y = 0; y < SIDE; y++)
            for (int i = 0; i < DIGITS; i++)
                for (int x = 0; x < SIDE; x++) {
                    float value = images[i][y][x];
                    value = value < -1 ? -1 : value > 1 ? 1 : value;
                    fputc((int)((value + 1) * 127.5f + 0.5f), file);
                }
        if (fclose(file) != 0) status = -1;
    } else if (!status) {
        perror("digits.pgm");
        status = -1;
    }
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    return status != 0;
}

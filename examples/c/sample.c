/* Eight portraits with transparency, drawn by the student inside the library, side by side in a TGA picture.
 *
 *   cargo rustc --release --package onestep --lib --crate-type cdylib
 *   cc -std=c99 -Iinclude examples/c/sample.c -Ltarget/release -lonestep -o sample
 *   LD_LIBRARY_PATH=target/release ./sample portraits.tga
 */
#include <onestep.h>
#include <stdio.h>

enum { PORTRAITS = 8, SIDE = 16, WIDTH = PORTRAITS * SIDE };

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "portraits.tga";
    uint64_t seeds[PORTRAITS];
    int32_t labels[PORTRAITS];
    for (int i = 0; i < PORTRAITS; i++) {
        seeds[i] = (uint64_t)i;
        labels[i] = i;
    }
    onestep_error err;
    onestep_model *model = NULL;
    onestep_session *session = NULL;
    onestep_request *request = onestep_request_new();
    static unsigned char picture[SIDE][WIDTH][4];
    onestep_layout layout = {.struct_size = sizeof layout, .format = ONESTEP_FORMAT_BGRA8, .columns = PORTRAITS};

    int32_t status = onestep_model_open_default(NULL, &model, &err);
    if (!status) status = onestep_session_new(model, NULL, &session, &err);
    if (!status) status = onestep_request_set_seeds(request, seeds, PORTRAITS, &err);
    if (!status) status = onestep_request_set_labels(request, labels, PORTRAITS, &err);
    if (!status) status = onestep_session_sample(session, request, &layout, picture, sizeof picture, &err);
    if (status) fprintf(stderr, "%s: %s\n", onestep_status_name(status), err.message);

    /* Pixels as they are, 32 bits each, eight of them alpha, top row first. */
    const unsigned char header[18] = {[2] = 2, [12] = WIDTH, [14] = SIDE, [16] = 32, [17] = 0x28};
    FILE *file = status ? NULL : fopen(path, "wb");
    if (file) {
        size_t written = fwrite(header, sizeof header, 1, file) + fwrite(picture, sizeof picture, 1, file);
        if (fclose(file) != 0 || written != 2) status = -1;
    } else if (!status) {
        perror(path);
        status = -1;
    }
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    return status != 0;
}

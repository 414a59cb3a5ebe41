/* A program that was compiled when onestep_layout had no sheets: its struct ends where theirs goes on. */
#include "check.h"

typedef struct {
    uint32_t struct_size;
    int32_t format;
    uint32_t flags;
    uint32_t reserved;
    uint64_t row_stride;
    uint64_t plane_stride;
    uint64_t image_stride;
} layout_without_sheets;

int main(int argc, char **argv) {
    CHECK(argc > 1);
    static const uint64_t seeds[3] = {4, 5, 6};
    static const int32_t labels[3] = {7, 8, 9};
    static unsigned char older[3 * IMAGE * 3], newer[sizeof older];
    onestep_model *model = open_student(argv[1]);
    onestep_session *session = new_session(model, 1);
    onestep_request *request = digits(seeds, labels, 3);
    uint64_t size = 0;
    CHECK(sizeof(layout_without_sheets) == 40);
    /* Of just its own size, so that AddressSanitizer and valgrind see who reads on. */
    layout_without_sheets *old = malloc(sizeof *old);
    CHECK(old != NULL);
    memset(old, 0, sizeof *old);
    old->struct_size = sizeof *old;
    old->format = ONESTEP_FORMAT_RGB8;
    /* Side by side in one picture, as sheets of one row were made then; and one behind the other. */
    onestep_layout layout = layout_of(ONESTEP_FORMAT_RGB8);
    for (int tight = 0; tight < 2; tight++) {
        old->row_stride = tight ? 0 : 3 * SIDE * 3;
        old->image_stride = tight ? 0 : SIDE * 3;
        layout.columns = tight ? 0 : 3;
        CHECK_OK(onestep_output_size(model, 3, (const onestep_layout *)(const void *)old, &size, &err));
        CHECK(size == sizeof older);
        CHECK_OK(onestep_session_sample(session, request, (const onestep_layout *)(const void *)old, older, sizeof older, &err));
        CHECK_OK(onestep_session_sample(session, request, &layout, newer, sizeof newer, &err));
        CHECK(memcmp(older, newer, sizeof older) == 0);
    }
    /* Whatever lies behind it is not looked at. */
    struct { layout_without_sheets layout; unsigned char behind[64]; } poisoned;
    memset(&poisoned, 0xff, sizeof poisoned);
    poisoned.layout = *old;
    CHECK_OK(onestep_output_size(model, 3, (const onestep_layout *)(const void *)&poisoned, &size, &err));
    CHECK(size == sizeof older);

    free(old);
    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    return 0;
}

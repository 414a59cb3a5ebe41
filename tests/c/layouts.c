/* Pixels: five formats, two flags, strides, and buffers that are too small. */
#include "check.h"

static const uint64_t seeds[2] = {5, 6};
static const int32_t labels[2] = {8, 3};

static unsigned to_byte(float value) {
    if (value < -1) value = -1;
    if (value > 1) value = 1;
    return (unsigned)((value + 1) * 127.5f + 0.5f);
}

static void sample(onestep_session *session, onestep_request *request, const onestep_layout *layout, void *out,
                   size_t size) {
    CHECK_OK(onestep_session_sample(session, request, layout, out, size, &err));
}

/* An atlas of 8 x 8 in one call is 64 images, each drawn alone where it belongs. */
static void atlas(onestep_session *session, onestep_model *model) {
    enum { ACROSS = 8, COUNT = ACROSS * ACROSS, ROW = ACROSS * SIDE * 4 };
    static unsigned char one_call[ACROSS * SIDE * ROW], apart[sizeof one_call];
    uint64_t many[COUNT], size = 0;
    int32_t digit[COUNT];
    for (int i = 0; i < COUNT; i++) {
        many[i] = (uint64_t)i * 77;
        digit[i] = i % 10;
    }
    onestep_request *request = digits(many, digit, COUNT);
    onestep_layout layout = layout_of(ONESTEP_FORMAT_RGBA8);
    layout.flags = ONESTEP_FLAG_FLIP_Y;
    layout.columns = ACROSS;
    CHECK_OK(onestep_output_size(model, COUNT, &layout, &size, &err));
    CHECK(size == sizeof one_call);
    CHECK_OK(onestep_output_size(model, COUNT - 3, &layout, &size, &err));
    CHECK(size == sizeof one_call - 3 * SIDE * 4);
    sample(session, request, &layout, one_call, sizeof one_call);
    onestep_request_free(request);

    layout.columns = 0;
    layout.row_stride = ROW;
    for (int i = 0; i < COUNT; i++) {
        size_t at = (size_t)(i / ACROSS * SIDE * ROW + i % ACROSS * SIDE * 4);
        request = digits(&many[i], &digit[i], 1);
        sample(session, request, &layout, apart + at, sizeof apart - at);
        onestep_request_free(request);
    }
    CHECK(memcmp(one_call, apart, sizeof apart) == 0);

    layout.column_stride = SIDE * 4; /* of no sheet */
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_output_size(model, 1, &layout, &size, &err));
    CHECK(strstr(err.message, "column_stride") != NULL);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    onestep_model *model = open_student(argv[1]);
    onestep_session *session = new_session(model, 1);
    onestep_request *request = digits(seeds, labels, 2);
    static float nchw[2 * IMAGE], floats[2 * IMAGE];
    static unsigned char bytes[1 << 16];
    uint64_t size = 0;
    sample(session, request, NULL, nchw, sizeof nchw);

    onestep_layout layout = layout_of(ONESTEP_FORMAT_F32_NHWC);
    CHECK_OK(onestep_output_size(model, 2, &layout, &size, &err));
    CHECK(size == sizeof floats);
    sample(session, request, &layout, floats, sizeof floats);
    CHECK(memcmp(nchw, floats, sizeof nchw) == 0); /* one channel */

    layout.flags = ONESTEP_FLAG_FLIP_Y | ONESTEP_FLAG_F32_UNIT_RANGE;
    sample(session, request, &layout, floats, sizeof floats);
    for (size_t i = 0; i < 2 * IMAGE; i++) {
        size_t image = i / IMAGE, y = i % IMAGE / SIDE, x = i % SIDE;
        float expected = (nchw[image * IMAGE + (SIDE - 1 - y) * SIDE + x] + 1) / 2;
        CHECK((floats[i] - expected) * (floats[i] - expected) < 1e-12f);
    }

    /* Every 8-bit format, with and without strides, at an odd address. */
    for (int32_t format = ONESTEP_FORMAT_RGB8; format <= ONESTEP_FORMAT_BGRA8; format++) {
        for (int strided = 0; strided < 2; strided++) {
            size_t pixel = format == ONESTEP_FORMAT_RGB8 ? 3 : 4;
            layout = layout_of(format);
            layout.row_stride = strided ? SIDE * pixel + 5 : 0;
            layout.image_stride = strided ? SIDE * (SIDE * pixel + 5) + 77 : 0;
            size_t row = strided ? (size_t)layout.row_stride : SIDE * pixel;
            size_t image = strided ? (size_t)layout.image_stride : SIDE * row;
            CHECK_OK(onestep_output_size(model, 2, &layout, &size, &err));
            CHECK(size == image + (SIDE - 1) * row + SIDE * pixel);
            memset(bytes, 0xcd, sizeof bytes);
            sample(session, request, &layout, bytes + 1, size);
            size_t written = 0;
            for (size_t i = 0; i < 2 * IMAGE; i++) {
                size_t y = i % IMAGE / SIDE, x = i % SIDE;
                const unsigned char *at = bytes + 1 + i / IMAGE * image + y * row + x * pixel;
                unsigned grey = to_byte(nchw[i]);
                for (size_t c = 0; c < 3; c++) CHECK(at[c] + 1u >= grey && at[c] <= grey + 1u && at[c] == at[0]);
                if (pixel == 4) CHECK(at[3] == 255);
                written += pixel;
            }
            /* What lies between rows and images is the caller's. */
            size_t untouched = 0;
            for (size_t i = 0; i < sizeof bytes; i++) untouched += bytes[i] == 0xcd;
            CHECK(untouched >= sizeof bytes - written);
            CHECK(bytes[0] == 0xcd && bytes[size + 1] == 0xcd);
            if (strided) CHECK(bytes[1 + SIDE * pixel] == 0xcd && bytes[1 + image - 1] == 0xcd);

            memset(bytes, 0xcd, sizeof bytes);
            CHECK_STATUS(ONESTEP_BUFFER_TOO_SMALL,
                         onestep_session_sample(session, request, &layout, bytes, size - 1, &err));
            for (size_t i = 0; i < sizeof bytes; i++) CHECK(bytes[i] == 0xcd);
        }
    }

    /* Nonsense is refused before anything is drawn. */
#define REFUSED() CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_output_size(model, 2, &layout, &size, &err))
    layout = layout_of(5);
    REFUSED();
    layout = layout_of(-1);
    REFUSED();
    layout = layout_of(ONESTEP_FORMAT_RGB8);
    layout.flags = 8;
    REFUSED();
    layout.flags = 0;
    layout.reserved = 1;
    REFUSED();
    layout.reserved = 0;
    layout.row_stride = SIDE * 3 - 1;
    REFUSED();
    layout.row_stride = UINT64_MAX / 2;
    REFUSED();
    layout.row_stride = 0;
    layout.image_stride = SIDE * SIDE * 3 - 1;
    REFUSED();
    layout = layout_of(ONESTEP_FORMAT_F32_NCHW);
    layout.row_stride = SIDE * 4 + 2;
    REFUSED();
    layout.struct_size = 7;
    REFUSED();

    atlas(session, model);

    /* An older, smaller struct: what it lacks is zero. */
    layout = layout_of(ONESTEP_FORMAT_RGB8);
    layout.row_stride = 12345;
    layout.struct_size = 8;
    CHECK_OK(onestep_output_size(model, 2, &layout, &size, &err));
    CHECK(size == 2 * IMAGE * 3);
    /* A newer, larger one: what is beyond this header is ignored. */
    struct { onestep_layout known; uint64_t later[4]; } newer;
    memset(&newer, 0xff, sizeof newer);
    newer.known = layout_of(ONESTEP_FORMAT_RGB8);
    newer.known.struct_size = sizeof newer;
    CHECK_OK(onestep_output_size(model, 2, &newer.known, &size, &err));
    CHECK(size == 2 * IMAGE * 3);

    onestep_request_free(request);
    onestep_session_free(session);
    onestep_model_free(model);
    return 0;
}

/* Opening: file, copied memory, borrowed memory, the default; what is refused; what a model says of itself. */
#include "check.h"

static int released;
static void release(void *user) {
    CHECK(user == &released);
    released++;
}

static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long end = ftell(file);
    CHECK(end > 0);
    rewind(file);
    /* One byte in, so that the model's bytes are unaligned. */
    unsigned char *bytes = malloc((size_t)end + 1);
    CHECK(bytes != NULL && fread(bytes + 1, 1, (size_t)end, file) == (size_t)end);
    fclose(file);
    *size = (size_t)end;
    return bytes;
}

static void check_teacher(onestep_model *model) {
    onestep_model_info info;
    info.struct_size = sizeof info;
    CHECK_OK(onestep_model_get_info(model, &info, &err));
    CHECK(info.struct_size == sizeof info);
    CHECK(info.role == ONESTEP_ROLE_TEACHER && info.width == SIDE && info.height == SIDE && info.channels == 1);
    CHECK(info.num_classes == 10 && info.train_timesteps == 1000 && info.default_steps == 50);
    CHECK(info.parameters == 1114081 && info.weight_bytes >= 2 * info.parameters);
    CHECK(strcmp(info.arch, "unet2d") == 0 && strcmp(info.device, "cpu") == 0);
    CHECK(info.precision == ONESTEP_PRECISION_F32 && info.reserved == 0);
    onestep_model_free(model);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    onestep_model *model = NULL;
    size_t size;
    unsigned char *bytes = read_file(path_of(argv[1], TEACHER), &size);

    check_teacher(open_teacher(argv[1]));
    CHECK_OK(onestep_model_open_memory(bytes + 1, size, NULL, &model, &err));
    check_teacher(model);
    CHECK_OK(onestep_model_open_borrowed(bytes + 1, size, release, &released, NULL, &model, &err));
    CHECK(released == 1);
    memset(bytes, 0xff, size + 1); /* needed during the call alone */
    check_teacher(model);
    free(bytes);

    /* Released once on every failure too. */
    static const char garbage[] = "this is no model, whatever its name says";
    CHECK_STATUS(ONESTEP_BAD_MODEL,
                 onestep_model_open_borrowed(garbage, sizeof garbage, release, &released, NULL, &model, &err));
    CHECK(released == 2 && model == NULL);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_model_open_borrowed(NULL, 5, release, &released, NULL, &model, &err));
    CHECK(released == 3);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT,
                 onestep_model_open_borrowed(garbage, sizeof garbage, release, &released, NULL, NULL, &err));
    CHECK(released == 4);
    CHECK_STATUS(ONESTEP_BAD_MODEL,
                 onestep_model_open_borrowed(garbage, sizeof garbage, NULL, NULL, NULL, &model, &err));

    CHECK_STATUS(ONESTEP_BAD_MODEL, onestep_model_open_memory(garbage, 0, NULL, &model, &err));
    CHECK_STATUS(ONESTEP_BAD_MODEL, onestep_model_open_memory(garbage, 7, NULL, &model, &err));
    CHECK_STATUS(ONESTEP_IO, onestep_model_open_file("no/such/file", NULL, &model, &err));
    CHECK(err.native_code != 0 && strstr(err.message, "no/such/file") != NULL);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_open_file("\xff\xfe", NULL, &model, &err));

    /* The default, and roles. */
    onestep_options *options = onestep_options_new();
    CHECK_OK(onestep_options_set_role(options, ONESTEP_ROLE_TEACHER, &err));
    CHECK_OK(onestep_model_open_default(options, &model, &err));
    onestep_model_info info;
    info.struct_size = sizeof info;
    CHECK_OK(onestep_model_get_info(model, &info, &err));
    CHECK(info.role == ONESTEP_ROLE_STUDENT && info.default_steps == 1 && info.channels == 4 && info.num_classes == 8);
    onestep_model_free(model);
    CHECK_OK(onestep_model_open_file(path_of(argv[1], "models/digits-student.safetensors"), options, &model, &err));
    CHECK_OK(onestep_model_get_info(model, &info, &err));
    CHECK(info.role == ONESTEP_ROLE_TEACHER);
    onestep_model_free(model);
    model = open_student(argv[1]);
    CHECK_OK(onestep_model_get_info(model, &info, &err));
    CHECK(info.role == ONESTEP_ROLE_STUDENT && info.default_steps == 1);

    /* An older, smaller struct is filled as far as it goes. */
    memset(&info, 0x55, sizeof info);
    info.struct_size = 16;
    CHECK_OK(onestep_model_get_info(model, &info, &err));
    CHECK(info.struct_size == 16 && info.width == SIDE && info.height == SIDE && info.channels == 0x55555555);
    info.struct_size = 0;
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_get_info(model, &info, &err));
    /* A newer, larger one keeps what this library does not know. */
    struct {
        onestep_model_info known;
        unsigned char later[24];
    } newer;
    memset(&newer, 0x55, sizeof newer);
    newer.known.struct_size = sizeof newer;
    CHECK_OK(onestep_model_get_info(model, &newer.known, &err));
    CHECK(newer.known.channels == 1 && newer.known.struct_size == sizeof newer);
    for (size_t i = 0; i < sizeof newer.later; i++) CHECK(newer.later[i] == 0x55);

    /* The description as JSON: first its size, then its text. */
    size_t needed = 0;
    char text[1 << 14];
    CHECK_OK(onestep_model_info_json(model, NULL, 0, &needed, &err));
    CHECK(needed > 100 && needed < sizeof text);
    memset(text, 0x55, sizeof text);
    CHECK_STATUS(ONESTEP_BUFFER_TOO_SMALL, onestep_model_info_json(model, text, needed - 1, &needed, &err));
    CHECK(text[0] == 0x55 && strstr(err.message, "out") != NULL);
    CHECK_OK(onestep_model_info_json(model, text, needed, &needed, &err));
    CHECK(strlen(text) == needed - 1 && text[needed] == 0x55 && text[0] == '{' && text[needed - 2] == '}');
    CHECK(strstr(text, "\"generator\":\"student\"") != NULL && strstr(text, "\"prediction\":\"epsilon\"") != NULL);
    CHECK(strstr(text, "\"train_timesteps\":1000") != NULL && strstr(text, "\"notes\":[") != NULL);
    CHECK(strstr(text, "\"parameters\":1114081") != NULL && strstr(text, "\"device\":\"cpu\"") != NULL);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_info_json(model, NULL, 1, &needed, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_info_json(model, text, sizeof text, NULL, &err));
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_info_json(NULL, NULL, 0, &needed, &err));

    onestep_memory memory;
    memory.struct_size = sizeof memory;
    CHECK_OK(onestep_model_estimate_memory(model, 4, &memory, &err));
    CHECK(memory.weights >= 4 * 1114081 && memory.weights <= 4 * 1114081 * 24 / 10);
    CHECK(memory.scratch > 0 && memory.host_peak >= memory.weights + memory.scratch);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_model_estimate_memory(model, 0, &memory, &err));

    uint32_t count = 0;
    CHECK_OK(onestep_device_count(&count, &err));
    CHECK(count >= 1);
    onestep_device_info device;
    device.struct_size = sizeof device;
    CHECK_OK(onestep_device_get(0, &device, &err));
    CHECK(device.kind == ONESTEP_DEVICE_CPU && strcmp(device.id, "cpu") == 0 && device.name[0] != 0);
    CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, onestep_device_get(count, &device, &err));

    onestep_model_free(model);
    onestep_options_free(options);
    return 0;
}

/* A library whose calls do nothing, so that what is timed is the way there and back; with another ABI, one that must be
 * refused. cc -shared -fPIC -DABI=1 stub.c -o libonestep.so */
#include <onestep.h>

static int something;

static int32_t made(void **out) {
    *out = &something;
    return ONESTEP_OK;
}

uint32_t onestep_abi_version(void) { return ABI; }
onestep_options *onestep_options_new(void) { return (onestep_options *)&something; }
onestep_request *onestep_request_new(void) { return (onestep_request *)&something; }
void onestep_options_free(onestep_options *options) { (void)options; }
void onestep_request_free(onestep_request *request) { (void)request; }
void onestep_model_free(onestep_model *model) { (void)model; }
void onestep_session_free(onestep_session *session) { (void)session; }

int32_t onestep_options_set_threads(onestep_options *options, uint32_t threads, onestep_error *err) {
    (void)options, (void)threads, (void)err;
    return ONESTEP_OK;
}

int32_t onestep_model_open_default(const onestep_options *options, onestep_model **out, onestep_error *err) {
    (void)options, (void)err;
    return made((void **)out);
}

int32_t onestep_model_get_info(const onestep_model *model, onestep_model_info *info, onestep_error *err) {
    (void)model, (void)err;
    info->width = info->height = 16;
    info->channels = 1;
    return ONESTEP_OK;
}

int32_t onestep_session_new(const onestep_model *model, const onestep_options *options, onestep_session **out, onestep_error *err) {
    (void)model, (void)options, (void)err;
    return made((void **)out);
}

int32_t onestep_request_set_seeds(onestep_request *request, const uint64_t *seeds, size_t n, onestep_error *err) {
    (void)request, (void)seeds, (void)n, (void)err;
    return ONESTEP_OK;
}

int32_t onestep_request_set_labels(onestep_request *request, const int32_t *labels, size_t n, onestep_error *err) {
    (void)request, (void)labels, (void)n, (void)err;
    return ONESTEP_OK;
}

int32_t onestep_session_sample(onestep_session *session, const onestep_request *request, const onestep_layout *layout, void *out,
                               size_t out_size, onestep_error *err) {
    (void)session, (void)request, (void)layout, (void)out, (void)out_size;
    err->code = ONESTEP_OK;
    err->native_code = 0;
    err->message[0] = '\0';
    return ONESTEP_OK;
}

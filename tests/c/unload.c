/* Loading, drawing and unloading the shared library again and again: `dlclose` is promised for builds without candle. */
#include "condition.h"
#include <dlfcn.h>
#include <onestep.h>

/* The one way that ISO C allows from dlsym's void * to a function. */
#define LOAD(function)                                                              \
    *(void **)&function = dlsym(library, "onestep_" #function);                     \
    CHECK(function != NULL)

int main(int argc, char **argv) {
    CHECK(argc > 1);
    float first[4 * 256], out[4 * 256];
    /* A second argument says how often. */
    const int rounds = argc > 2 ? atoi(argv[2]) : 4;
    for (int round = 0; round < rounds; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        CHECK(library != NULL);
        int32_t (*model_open_default)(const onestep_options *, onestep_model **, onestep_error *);
        int32_t (*session_new)(const onestep_model *, const onestep_options *, onestep_session **, onestep_error *);
        int32_t (*options_set_threads)(onestep_options *, uint32_t, onestep_error *);
        onestep_options *(*options_new)(void);
        onestep_request *(*request_new)(void);
        int32_t (*request_set_seeds)(onestep_request *, const uint64_t *, size_t, onestep_error *);
        int32_t (*request_set_labels)(onestep_request *, const int32_t *, size_t, onestep_error *);
        int32_t (*session_sample)(onestep_session *, const onestep_request *, const onestep_layout *, void *, size_t,
                                  onestep_error *);
        void (*options_free)(onestep_options *);
        void (*request_free)(onestep_request *);
        void (*session_free)(onestep_session *);
        void (*model_free)(onestep_model *);
        LOAD(model_open_default);
        LOAD(session_new);
        LOAD(options_set_threads);
        LOAD(options_new);
        LOAD(request_new);
        LOAD(request_set_seeds);
        LOAD(request_set_labels);
        LOAD(session_sample);
        LOAD(options_free);
        LOAD(request_free);
        LOAD(session_free);
        LOAD(model_free);

        const uint64_t seed = 7;
        const int32_t label = 3;
        onestep_model *model = NULL;
        onestep_session *session = NULL;
        onestep_options *options = options_new();
        onestep_request *request = request_new();
        CHECK(options_set_threads(options, 2, NULL) == ONESTEP_OK);
        CHECK(model_open_default(options, &model, NULL) == ONESTEP_OK);
        CHECK(session_new(model, options, &session, NULL) == ONESTEP_OK);
        CHECK(request_set_seeds(request, &seed, 1, NULL) == ONESTEP_OK);
        CHECK(request_set_labels(request, &label, 1, NULL) == ONESTEP_OK);
        CHECK(session_sample(session, request, NULL, round ? out : first, sizeof out, NULL) == ONESTEP_OK);
        for (size_t i = 0; i < 4 * 256; i++) CHECK(round == 0 || out[i] == first[i]);
        request_free(request);
        options_free(options);
        session_free(session);
        model_free(model);
        CHECK(dlclose(library) == 0);
    }
    return 0;
}

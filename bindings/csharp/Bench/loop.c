/* The calls that Program.cs makes, made by C: seconds that `calls` of them take, on the handles that C# made. */
#define _POSIX_C_SOURCE 199309L
#include <onestep.h>
#include <time.h>

double onestep_bench_loop(onestep_session *session, const onestep_request *request, const onestep_layout *layout, void *out,
                          size_t size, int32_t calls) {
    struct timespec start, end;
    onestep_error error;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int32_t i = 0; i < calls; i++)
        if (onestep_session_sample(session, request, layout, out, size, &error) != ONESTEP_OK) return -1;
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
}

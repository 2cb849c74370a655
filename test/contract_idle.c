/* contract_idle.c - between calls the library costs nothing. */
#include "contract.h"
#include "contract_tools.h"

#include <sys/resource.h>

static int nothing(size_t index, void *ctx) {
    (void)index, (void)ctx;
    return 0;
}

static double cpu_seconds(void) {
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* Sanitizers have threads of their own that wake up now and then. */
CASE("G-18", an_idle_library_uses_no_cpu) {
    assert_int_equal(dist_for(nothing, PRIME, .executor = X, .workers = 8, .chunk = 1), DIST_OK);
    nap(0.01);
    double before = cpu_seconds();
    nap(1);
    assert_true(cpu_seconds() - before < (SANITIZED ? 0.1 : 0.001));
}

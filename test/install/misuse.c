/* misuse.c - each -D<CASE> must not compile (P-04, P-24). Without one it does. */
#include <dist/dist.h>

static int multiply(int x, int y) { return x * y; }
#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

dist_status misuse(void);

dist_status misuse(void) {
    multiply_args args[1] = {{.x = 1, .y = DIST_SET(3)}};
    int out[1] = {0};
#ifdef UNKNOWN_FIELD
    args[0] = (multiply_args){.x = 1, .unknown_field = 2};
#endif
#ifdef WRONG_TYPE
    args[0] = (multiply_args){.x = "one"};
#endif
#ifdef UNKNOWN_OPTION
    return dist_map(multiply_task, args, 1, out, .unknown_field = 4);
#endif
#ifdef EXECUTOR_TWICE
    return dist_thread_map(multiply_task, args, 1, out, .executor = DIST_PROCESS);
#endif
#ifdef WRONG_RESULT
    double wide[1];
    return multiply_map(args, 1, wide, NULL);
#endif
#ifdef NOT_A_TASK
    return dist_map(multiply, args, 1, out);
#endif
    return dist_thread_map(multiply_task, args, 1, out, .workers = 2);
}

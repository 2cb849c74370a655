/* misuse.c - what the compiler refuses (P-04, P-24). With -D<CASE> the branch below it must fail
 * with the diagnostic in the comment beside it; without, the file compiles with the right forms
 * alone. CMakeLists.txt reads the cases from here. */
#include <dist/dist.h>

void arguments(void), arrays(void), options(void), tasks(void), sums(void), lists(void);

/* ---- making tasks of functions */

static int answer(void) { return 42; }
#ifdef ARGUMENT_TOO_MANY /* too many arguments */
DIST_FN1(int, answer, int)
#else
DIST_FN0(int, answer)
#endif

static double half(double x) { return x / 2; }
#ifdef SEMICOLON /* extra .* outside of a function */
DIST_FN1(double, half, double);
#else
DIST_FN1(double, half, double)
#endif

static int shift(int x, int by) { return x + by; }
#ifdef CONTEXT_FORGOTTEN /* too few arguments */
DIST_FN1(int, shift, int)
#else
DIST_FN1_CTX(int, shift, int, int)
#endif

static const char *tail(const char *text, size_t from) { return text + from; }
#ifdef PARAMETER_OF_ANOTHER_TYPE /* int-conversion */
#define TAIL(REQ, OPT) REQ(int, text) OPT(size_t, from, 1)
#elif defined(PARAMETERS_SWAPPED) /* int-conversion */
#define TAIL(REQ, OPT) OPT(size_t, from, 1) REQ(const char *, text)
#elif defined(PARAMETER_FORGOTTEN) /* too few arguments */
#define TAIL(REQ, OPT) REQ(const char *, text)
#elif defined(PARAMETER_TWICE) /* duplicate member */
#define TAIL(REQ, OPT) REQ(const char *, text) OPT(size_t, text, 1)
#elif defined(DEFAULT_OF_ANOTHER_TYPE) /* type mismatch in conditional */
#define TAIL(REQ, OPT) REQ(const char *, text) OPT(size_t, from, "one")
#else
#define TAIL(REQ, OPT) REQ(const char *, text) OPT(size_t, from, 1)
#endif
#ifdef RESULT_OF_ANOTHER_TYPE /* int-conversion */
DIST_DEFINE(int, tail, TAIL)
#else
DIST_DEFINE(const char *, tail, TAIL)
#endif

static int multiply(int x, int y) { return x * y; }
#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

static int visit(size_t index, void *ctx) {
    (void)ctx;
#ifdef FORMAT /* format */
    return dist_fail(1, "index %s", index);
#else
    return dist_fail(1, "index %zu", index);
#endif
}

static int chunk(void *results, const void *items, size_t n, void *ctx) {
    return multiply_task(results, items, ctx) + (int)n;
}

/* ---- the arguments of a task */

void arguments(void) {
    multiply_args args[] = {{.x = 1}, {.x = 2, .y = DIST_SET(3)}};
    (void)args;

#ifdef UNKNOWN_FIELD /* unknown_field */
    args[0] = (multiply_args){.x = 1, .unknown_field = DIST_SET(2)};
#else
    args[0] = (multiply_args){.x = 1, .y = DIST_SET(2)};
#endif
#ifdef REQUIRED_OF_ANOTHER_TYPE /* int-conversion */
    args[0] = (multiply_args){.x = "one"};
#elif defined(REQUIRED_SET) /* scalar */
    args[0] = (multiply_args){.x = DIST_SET(1)};
#else
    args[0] = (multiply_args){.x = 1};
#endif
#ifdef OPTIONAL_OF_ANOTHER_TYPE /* int-conversion */
    args[0] = (multiply_args){.y = DIST_SET("two")};
#elif defined(OPTIONAL_NOT_SET) /* missing-braces */
    args[0] = (multiply_args){.y = 2};
#else
    args[0] = (multiply_args){.y = DIST_SET(2)};
#endif
}

/* ---- items and results of a call */

void arrays(void) {
    const multiply_args args[2] = {{.x = 1}, {.x = 2}};
    const void *untyped = args;
    const int fixed[2] = {0};
    double wide[2] = {0};
    int out[2];
    (void)untyped, (void)fixed, (void)wide;

#ifdef ITEMS_OF_ANOTHER_TYPE /* incompatible-pointer-types */
    multiply_map(wide, 2, out, NULL);
#else
    multiply_map(args, 2, out, NULL);
#endif
#ifdef RESULTS_OF_ANOTHER_TYPE /* incompatible-pointer-types */
    multiply_process_map(args, 2, wide, NULL);
#else
    multiply_process_map(args, 2, out, NULL);
#endif
#ifdef RESULTS_CONSTANT /* discard(s|ed)[-a-z]*qualifiers */
    dist_map(multiply_task, args, 2, fixed);
#elif defined(RESULTS_FORGOTTEN) /* expected expression */
    dist_map(multiply_task, args, 2);
#elif defined(RESULTS_AN_OPTION) /* expected expression */
    dist_map(multiply_task, args, 2, .workers = 2);
#else
    dist_map(multiply_task, args, 2, out);
    dist_map(multiply_task, args, 2, DIST_NONE, .workers = 2);
#endif
#ifdef ITEMS_OF_NO_TYPE /* pointer-arith */
    dist_map(multiply_task, untyped, 2, out);
#else
    dist_map(multiply_task, (const multiply_args *)untyped, 2, out);
#endif
#ifdef ARGUMENT_A_VALUE /* int-conversion */
    dist_apply(half_task, 3, wide);
#else
    dist_apply(half_task, &(double){3}, wide);
#endif
}

/* ---- options */

void options(void) {
    const multiply_args args[1] = {{.x = 1}};
    const int fixed = 2;
    dist_job *job = NULL;
    int out[1];
    (void)fixed, (void)job;

#ifdef UNKNOWN_OPTION /* unknown_field */
    dist_map(multiply_task, args, 1, out, .unknown_field = 4);
#elif defined(OPTION_OF_ANOTHER_TYPE) /* int-conversion */
    dist_map(multiply_task, args, 1, out, .workers = "four");
#else
    dist_map(multiply_task, args, 1, out, .workers = 4);
#endif
#ifdef UNKNOWN_OPTION_OF_A_DEFINED_MAP /* unknown_field */
    multiply_map(args, 1, out, DIST_OPTS(.unknown_field = 4));
#elif defined(OPTIONS_BY_VALUE) /* incompatible type */
    multiply_map(args, 1, out, (dist_opts){.workers = 4});
#else
    multiply_map(args, 1, out, DIST_OPTS(.workers = 4));
#endif
#ifdef UNKNOWN_EXTRA /* unknown_field */
    dist_map(multiply_task, args, 1, out, .extras = &(multiply_args){.unknown_field = 1});
#else
    dist_map(multiply_task, args, 1, out, .extras = &(multiply_args){.y = DIST_SET(1)});
#endif
#ifdef CONTEXT_CONSTANT /* discard(s|ed)[-a-z]*qualifiers */
    dist_map(shift_task, out, 1, DIST_NONE, .ctx = &fixed);
#else
    dist_map(shift_task, out, 1, DIST_NONE, .ctx = &(int){2});
#endif
#ifdef JOB_BY_VALUE /* incompatible-pointer-types */
    dist_for(visit, 1, .job = job);
#else
    dist_for(visit, 1, .job = &job);
#endif
#ifdef EXECUTOR_OF_A_MAP_TWICE /* override-init|initializer-overrides */
    dist_thread_map(multiply_task, args, 1, out, .executor = DIST_PROCESS);
#else
    dist_map(multiply_task, args, 1, out, .executor = DIST_PROCESS);
#endif
#ifdef EXECUTOR_OF_A_LOOP_TWICE /* override-init|initializer-overrides */
    dist_process_for(visit, 1, .executor = DIST_THREAD);
#else
    dist_process_for(visit, 1, .workers = 2);
#endif
}

/* ---- functions that are no task of this kind */

void tasks(void) {
    const int in[1] = {0};
    int out[1];

#ifdef NOT_A_TASK /* incompatible-(function-)?pointer-types */
    dist_map(multiply, in, 1, out);
#elif defined(CHUNK_FUNCTION_AS_TASK) /* incompatible-(function-)?pointer-types */
    dist_map(chunk, in, 1, out);
#else
    dist_map(shift_task, in, 1, out, .ctx = &(int){2});
#endif
#ifdef TASK_AS_CHUNK_FUNCTION /* incompatible-(function-)?pointer-types */
    dist_map_chunks(shift_task, in, 1, out);
#else
    dist_map_chunks(chunk, in, 1, out);
#endif
#ifdef TASK_AS_LOOP_BODY /* incompatible-(function-)?pointer-types */
    dist_for(shift_task, 1);
#else
    dist_for(visit, 1);
#endif
#ifdef LOOP_BODY_AS_TASK /* incompatible-(function-)?pointer-types */
    dist_apply(visit, DIST_NONE, out);
#else
    dist_apply(answer_task, DIST_NONE, out);
#endif
}

/* ---- reductions */

static int join(void *into, const void *other, void *ctx) {
    (void)into, (void)other, (void)ctx;
    return 0;
}

void sums(void) {
    const int in[1] = {0};
    int sum = 0;

#ifdef LEAF_AND_JOIN_SWAPPED /* incompatible-(function-)?pointer-types */
    dist_reduce(join, chunk, in, 1, &sum);
#elif defined(JOIN_FORGOTTEN) /* incompatible-pointer-types|int-conversion|expected expression */
    dist_reduce(chunk, in, 1, &sum);
#elif defined(ACCUMULATOR_A_VALUE)           /* invalid type argument|indirection requires|sizeof */
    dist_reduce(chunk, join, in, 1, sum);
#elif defined(ACCUMULATOR_FORGOTTEN)         /* expected expression */
    dist_reduce(chunk, join, in, 1, .workers = 2);
#elif defined(EXECUTOR_OF_A_REDUCTION_TWICE) /* override-init|initializer-overrides */
    dist_thread_reduce(chunk, join, in, 1, &sum, .executor = DIST_PROCESS);
#else
    dist_reduce(chunk, join, in, 1, &sum, .workers = 2);
    dist_process_reduce(chunk, join, in, 1, &sum);
#endif
}

/* ---- lists of tasks */

void lists(void) {
    const multiply_args args = {.x = 1};
    const char *text = "text";
    int out[2];
    (void)text;

#ifdef FUNCTION_IN_A_LIST /* incompatible-(function-)?pointer-types */
    const dist_task first = DIST_TASK("first", multiply, &args, &out[0]);
#else
    const dist_task first = DIST_TASK("first", multiply_task, &args, &out[0]);
#endif
#ifdef FUTURE_OF_ANOTHER_ARGUMENT /* incompatible-pointer-types */
    const dist_task second = multiply_future("second", &text, &out[1]);
#elif defined(FUTURE_OF_ANOTHER_RESULT) /* incompatible-pointer-types */
    const dist_task second = multiply_future("second", &args, &text);
#else
    const dist_task second = multiply_future("second", &args, &out[1]);
#endif
    const dist_task both[] = {first, second};
    (void)both;
#ifdef ITEMS_AS_A_LIST /* incompatible-pointer-types */
    dist_par(&args, 1);
#else
    dist_par(both, 2);
#endif
}

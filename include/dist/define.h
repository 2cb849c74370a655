/* define.h - plain functions as tasks. Included by dist.h; C only.
 *
 *     static int cube(int x) { return x * x * x; }
 *     DIST_FN1(int, cube, int)
 *
 * makes cube_task, which can be given to any call; cube itself stays an ordinary function. Inside
 * it dist_fail makes the task fail. The macros stand at file scope, without a semicolon.
 */
#ifndef DIST_DEFINE_H
#define DIST_DEFINE_H
#ifndef __cplusplus

#define DIST__INLINE static inline __attribute__((unused))

/* With DIST_STRICT: fails the running task if the pointer at `value` is private to its worker. */
DIST_API void dist__check_result(const void *value);

enum { DIST__POINTER_CLASS = 5 }; /* what __builtin_classify_type says of pointers */

/* The body of a task around `call`, an expression of type R. */
#define DIST__TASK_BODY(R, call)                                                                   \
    (void)dist__item, (void)dist__ctx;                                                             \
    R dist__value = call;                                                                          \
    if (dist__result) *(R *)dist__result = dist__value;                                            \
    if (__builtin_classify_type(dist__value) == DIST__POINTER_CLASS)                               \
        dist__check_result(&dist__value);                                                          \
    return dist_failure();

#define DIST__TASK(f)                                                                              \
    DIST__INLINE int f##_task(void *dist__result, const void *dist__item, void *dist__ctx)

/* R f(void) */
#define DIST_FN0(R, f)                                                                             \
    DIST__TASK(f) { DIST__TASK_BODY(R, f()) }

/* R f(A): the item is the argument */
#define DIST_FN1(R, f, A)                                                                          \
    DIST__TASK(f) { DIST__TASK_BODY(R, f(*(A const *)dist__item)) }

/* R f(A, C): the item, then *ctx: .ctx = &(C){...} ("partial application") */
#define DIST_FN1_CTX(R, f, A, C)                                                                   \
    DIST__TASK(f) { DIST__TASK_BODY(R, f(*(A const *)dist__item, *(C const *)dist__ctx)) }

/* Named, optional and extra parameters:
 *
 *     static int multiply(int x, int y) { return x * y; }
 *     #define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
 *     DIST_DEFINE(int, multiply, MULTIPLY)
 *
 * makes  struct multiply_args { int x; optional int y; }, the item type,
 *        multiply_task(),
 *        multiply_map, multiply_thread_map, multiply_process_map(args, n, out, opts),
 *        multiply_future(name, args, out): an entry for dist_par.
 *
 * An optional parameter is the item's if it was set there ({ .y = DIST_SET(0) }), else the one set
 * in .extras (a multiply_args of which only the optional fields count), else the default. */
#define DIST_SET(...)                                                                              \
    { .is_set = true, .value = __VA_ARGS__ }

#define DIST_DEFINE(R, f, PARAMS)                                                                  \
    typedef struct f##_args {                                                                      \
        PARAMS(DIST__FIELD, DIST__OPTIONAL_FIELD)                                                  \
    } f##_args;                                                                                    \
    DIST__TASK(f) {                                                                                \
        const f##_args *dist__a = dist__item, *dist__x = dist__ctx;                                \
        (void)dist__x;                                                                             \
        DIST__TASK_BODY(R, f(DIST__ARGUMENTS(~PARAMS(DIST__ARG, DIST__OPTIONAL_ARG))))             \
    }                                                                                              \
    DIST__INLINE dist_status f##_map(const f##_args *dist__args, size_t dist__n, R *dist__out,     \
                                     const dist_opts *dist__opts) {                                \
        return dist_map_fn(f##_task, dist__args, dist__n, sizeof *dist__args, dist__out,           \
                           sizeof *dist__out, dist__opts);                                         \
    }                                                                                              \
    DIST__INLINE dist_status f##_thread_map(const f##_args *dist__args, size_t dist__n,            \
                                            R *dist__out, const dist_opts *dist__opts) {           \
        dist_opts dist__own = dist__opts ? *dist__opts : (dist_opts){.size = sizeof dist__own};    \
        dist__own.executor = DIST_THREAD;                                                          \
        return f##_map(dist__args, dist__n, dist__out, &dist__own);                                \
    }                                                                                              \
    DIST__INLINE dist_status f##_process_map(const f##_args *dist__args, size_t dist__n,           \
                                             R *dist__out, const dist_opts *dist__opts) {          \
        dist_opts dist__own = dist__opts ? *dist__opts : (dist_opts){.size = sizeof dist__own};    \
        dist__own.executor = DIST_PROCESS;                                                         \
        return f##_map(dist__args, dist__n, dist__out, &dist__own);                                \
    }                                                                                              \
    DIST__INLINE dist_task f##_future(const char *dist__name, const f##_args *dist__args,          \
                                      R *dist__out) {                                              \
        return (dist_task)DIST_TASK(dist__name, f##_task, dist__args, dist__out);                  \
    }

#define DIST__FIELD(T, name) T name;
#define DIST__OPTIONAL_FIELD(T, name, initial)                                                     \
    struct {                                                                                       \
        bool is_set;                                                                               \
        T value;                                                                                   \
    } name;
#define DIST__ARG(T, name) , dist__a->name
#define DIST__OPTIONAL_ARG(T, name, initial)                                                       \
    , dist__a->name.is_set              ? dist__a->name.value                                      \
      : dist__x && dist__x->name.is_set ? dist__x->name.value                                      \
                                        : (initial)
#define DIST__ARGUMENTS(...) DIST__TAIL_(__VA_ARGS__)

#endif
#endif

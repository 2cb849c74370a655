/* contract.h - one suite for every backend: a case registers once and runs for each of them.
 *
 *     CASE("P-01", map_keeps_item_order) { assert_int_equal(dist_map(..., .executor = X), DIST_OK);
 * }
 *
 * X is the executor under test. Each case runs in a process of its own, with a time limit, and
 * fails if it leaves a process behind. Assertions are cmocka's. INLINE is the oracle. */
#ifndef DIST_TEST_CONTRACT_H
#define DIST_TEST_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dist/dist.h>

extern dist_executor X;

enum { ON_INLINE = 1, ON_THREAD = 2, ON_PROCESS = 4, ON_ALL = 7 };

struct contract_case {
    const char *id;   /* of the promise: "P-01" */
    const char *name; /* what happens: "map_keeps_item_order" */
    void (*run)(void **state);
    unsigned executors; /* ON_... */
    unsigned seconds;   /* limit; sanitizers and valgrind get more */
    struct contract_case *next;
};

void contract_register(struct contract_case *one);

/* A case for some executors only, or with a longer limit than 20 s. */
#define CASE_ON(id_, name_, executors_, seconds_)                                                  \
    static void name_(void **state);                                                               \
    static struct contract_case case_##name_ = {id_, #name_, name_, executors_, seconds_, 0};      \
    __attribute__((constructor)) static void register_##name_(void) {                              \
        contract_register(&case_##name_);                                                          \
    }                                                                                              \
    static void name_(void **case_state __attribute__((unused)))

#define CASE(id_, name_) CASE_ON(id_, name_, ON_ALL, 20)

#define N(array) (sizeof(array) / sizeof *(array))

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define THREAD_SANITIZED 1 /* cannot start threads in a child of a process that has some */
#else
#define THREAD_SANITIZED 0
#endif

#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer) || THREAD_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#endif

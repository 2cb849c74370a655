/* parameters.h - functions of many shapes as tasks: how many parameters, which of them optional,
 * and of which types. contract_parameters.c calls them; install/defined.c only compiles them. */
#ifndef DIST_TEST_PARAMETERS_H
#define DIST_TEST_PARAMETERS_H

#include <dist/dist.h>
#include <string.h>

/* ---- how many: each digit is a parameter */

static int digits_1(int a) { return a; }
#define DIGITS_1(REQ, OPT) REQ(int, a)
DIST_DEFINE(int, digits_1, DIGITS_1)

static int digits_2(int a, int b) { return 10 * a + b; }
#define DIGITS_2(REQ, OPT) REQ(int, a) REQ(int, b)
DIST_DEFINE(int, digits_2, DIGITS_2)

static int optional_1(int a) { return a; }
#define OPTIONAL_1(REQ, OPT) OPT(int, a, 7)
DIST_DEFINE(int, optional_1, OPTIONAL_1)

/* Only optional ones, with every kind of default: zero and not. */
static int optional_3(int a, int b, int c) { return 100 * a + 10 * b + c; }
#define OPTIONAL_3(REQ, OPT) OPT(int, a, 0) OPT(int, b, 5) OPT(int, c, 0)
DIST_DEFINE(int, optional_3, OPTIONAL_3)

/* Optional ones between required ones. */
static long digits_12(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k,
                      int l) {
    const int digit[] = {a, b, c, d, e, f, g, h, i, j, k, l};
    long number = 0;
    for (int at = 0; at < 12; at++) number = 10 * number + digit[at];
    return number;
}
#define DIGITS_12(REQ, OPT)                                                                        \
    REQ(int, a)                                                                                    \
    OPT(int, b, 2)                                                                                 \
    REQ(int, c)                                                                                    \
    OPT(int, d, 4)                                                                                 \
    REQ(int, e)                                                                                    \
    REQ(int, f)                                                                                    \
    OPT(int, g, 7)                                                                                 \
    OPT(int, h, 8)                                                                                 \
    REQ(int, i)                                                                                    \
    OPT(int, j, 0)                                                                                 \
    OPT(int, k, 1)                                                                                 \
    REQ(int, l)
DIST_DEFINE(long, digits_12, DIGITS_12)

static unsigned bits_16(bool a, bool b, bool c, bool d, bool e, bool f, bool g, bool h, bool i,
                        bool j, bool k, bool l, bool m, bool n, bool o, bool p) {
    const bool bit[] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
    unsigned number = 0;
    for (int at = 0; at < 16; at++) number = 2 * number + bit[at];
    return number;
}
#define BITS_16(REQ, OPT)                                                                          \
    OPT(bool, a, true)                                                                             \
    OPT(bool, b, false)                                                                            \
    OPT(bool, c, true)                                                                             \
    OPT(bool, d, false)                                                                            \
    OPT(bool, e, true)                                                                             \
    OPT(bool, f, false)                                                                            \
    OPT(bool, g, true)                                                                             \
    OPT(bool, h, false)                                                                            \
    OPT(bool, i, true)                                                                             \
    OPT(bool, j, false)                                                                            \
    OPT(bool, k, true)                                                                             \
    OPT(bool, l, false)                                                                            \
    OPT(bool, m, true)                                                                             \
    OPT(bool, n, false)                                                                            \
    OPT(bool, o, true)                                                                             \
    OPT(bool, p, false)
DIST_DEFINE(unsigned, bits_16, BITS_16)

/* ---- of which types */

struct point {
    double x, y;
};
enum color { RED, GREEN, BLUE };
typedef int (*binary)(int, int);
typedef int triple[3];

static int plus(int a, int b) { return a + b; }
static int minus(int a, int b) { return a - b; }

static struct point move(struct point from, const struct point *by, double times) {
    return (struct point){from.x + times * by->x, from.y + times * by->y};
}
#define MOVE(REQ, OPT)                                                                             \
    REQ(struct point, from)                                                                        \
    OPT(const struct point *, by, (&(const struct point){1, 2}))                                   \
    OPT(double, times, 1)
DIST_DEFINE(struct point, move, MOVE)

static struct point larger(struct point a, struct point b) { return a.x < b.x ? b : a; }
#define LARGER(REQ, OPT)                                                                           \
    REQ(const struct point, a) OPT(const struct point, b, ((struct point){3, 4}))
DIST_DEFINE(struct point, larger, LARGER)

static const char *after(const char *text, const char *const word) {
    const char *at = strstr(text, word);
    return at ? at + strlen(word) : NULL;
}
#define AFTER(REQ, OPT) REQ(const char *, text) OPT(const char *const, word, " ")
DIST_DEFINE(const char *, after, AFTER)

static double small(char c, short s, unsigned char u, float f, enum color color, size_t size) {
    return c + s + u + (double)f + (int)color + (double)size;
}
#define SMALL(REQ, OPT)                                                                            \
    OPT(char, c, 'a')                                                                              \
    OPT(short, s, -1)                                                                              \
    OPT(unsigned char, u, 255)                                                                     \
    OPT(float, f, 0.5f)                                                                            \
    OPT(enum color, color, BLUE)                                                                   \
    OPT(size_t, size, 1000)
DIST_DEFINE(double, small, SMALL)

static int combine(const int *three, binary by) { return by(by(three[0], three[1]), three[2]); }
#define COMBINE(REQ, OPT) REQ(triple, three) OPT(binary, by, plus)
DIST_DEFINE(int, combine, COMBINE)

static int *address(int *of) { return of; }
#define ADDRESS(REQ, OPT) OPT(int *, of, NULL)
DIST_DEFINE(int *, address, ADDRESS)

/* Names that the macros use themselves. */
static int names(int value, int is_set, int result, int item, int ctx, int out) {
    return value + 2 * is_set + 4 * result + 8 * item + 16 * ctx + 32 * out;
}
#define NAMES(REQ, OPT)                                                                            \
    OPT(int, value, 1)                                                                             \
    REQ(int, is_set)                                                                               \
    OPT(int, result, 1)                                                                            \
    OPT(int, item, 1)                                                                              \
    REQ(int, ctx)                                                                                  \
    OPT(int, out, 1)
DIST_DEFINE(int, names, NAMES)

#endif

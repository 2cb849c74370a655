/* defined.c - functions made tasks and never used: no warning, whatever their parameters are and
 * whatever names the file has beside them. */
#include "../parameters.h"

binary unused(void);
binary unused(void) { return minus; }

extern int args, n, out, o, opts, with, own, name, item, items, result, ctx, call, value;

static int seven(void) { return 7; }
DIST_FN0(int, seven)
static int cube(int x) { return x * x * x; }
DIST_FN1(int, cube, int)
static int shift(int x, int by) { return x + by; }
DIST_FN1_CTX(int, shift, int, int)
static int multiply(int x, int y) { return x * y; }
#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

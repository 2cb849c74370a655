/* defined.c - functions made tasks and never used: no warning, whatever their parameters are. */
#include "../parameters.h"

binary unused(void);
binary unused(void) { return minus; }

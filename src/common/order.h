/* order.h - tasks of dist_par with priorities: for the time of the call they stand in another
 * order, and everything counts positions in it. What callers, tasks and hooks hear is translated
 * into indices. */
#ifndef DIST_COMMON_ORDER_H
#define DIST_COMMON_ORDER_H

#include "batch.h"

/* Puts the tasks of a par into order, if one has a priority. DIST_OK, or a refusal. */
dist_status dist__order_begin(struct dist__batch *batch);

/* Nothing runs any more: positions in the outcome become indices. */
void dist__order_end(struct dist__batch *batch);

#endif

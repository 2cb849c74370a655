/* token.h - a switch that cancels calls, from any thread, signal handler or worker process. */
#ifndef DIST_COMMON_TOKEN_H
#define DIST_COMMON_TOKEN_H

#include "dist/dist.h"

/* References count in this process only; a forked child has its own. */
void dist__token_ref(dist_token *token);
void dist__token_unref(dist_token *token);

/* A descriptor that is readable once the token is cancelled. */
int dist__token_fd(const dist_token *token);

/* For waits that the descriptor does not end: until when one lasts before the next look at the
 * token; limit_ns if it comes first, or if there is no token. */
uint64_t dist__token_look(const dist_token *token, uint64_t limit_ns);

#endif

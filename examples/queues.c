/* queues.c - what mp_list_splitter is really about: a producer that computes in processes, a queue
 * of three, a consumer with heartbeats; control messages that overtake; producers in a chain; tasks
 * that renew themselves. */
#include "check.h"

#include <dist/dist.h>
#include <errno.h>
#include <math.h>

static double fifth_power(int x) { return pow(x, 5); }
DIST_FN1(double, fifth_power, int)

/* main.py: each value, a subtotal for each batch, then the total; there None is the end, here the
 * queue is closed. */
struct message {
    enum { VALUE, SUBTOTAL, TOTAL } kind;
    double number;
};

static dist_status tell(dist_queue *queue, struct message message) {
    return dist_queue_put(queue, &message, DIST_FOREVER);
}

static int produce(void *result, const void *item, void *ctx) {
    dist_queue *queue = *(dist_queue **)ctx;
    int data[60];
    double out[60], total = 0;
    (void)result, (void)item;
    for (int i = 0; i < 60; i++) data[i] = i % 7;
    dist_range batch;
    for (size_t k = 0; (batch = dist_chunk(60, 25, k)).count; k++) {
        double subtotal = 0;
        if (dist_process_map(fifth_power_task, data + batch.begin, batch.count, out + batch.begin,
                             .workers = 3))
            return dist_fail(EIO, "batch %zu: %s", k, dist_last_error()->message);
        for (size_t i = batch.begin; i < batch.begin + batch.count; i++) {
            subtotal += out[i];
            tell(queue, (struct message){VALUE, out[i]});
        }
        tell(queue, (struct message){SUBTOTAL, subtotal});
        total += subtotal;
    }
    tell(queue, (struct message){TOTAL, total});
    return (int)dist_queue_close(queue);
}

static void round_trip(void) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(struct message), .capacity = 3);
    dist_job *producer =
        dist_apply_async(produce, DIST_NONE, DIST_NONE, .executor = DIST_THREAD, .ctx = &queue);
    double values = 0, subtotals = 0, total = -1;
    struct message message;
    dist_status status;
    puts("messages");
    while ((status = dist_queue_get(queue, &message, 30.0)) != DIST_CLOSED) {
        if (status == DIST_EMPTY) continue; /* half a minute without any: a heartbeat */
        if (message.kind == VALUE) values += message.number;
        if (message.kind == SUBTOTAL) subtotals += message.number;
        if (message.kind == SUBTOTAL) printf("    subtotal: %g\n", message.number);
        if (message.kind == TOTAL) total = message.number;
        CHECK(dist_queue_task_done(queue) == DIST_OK);
    }
    printf("    total: %g\n", total);
    CHECK(values == subtotals && subtotals == total);
    CHECK(dist_queue_task_done(queue) == DIST_STATE); /* once too often */
    CHECK(dist_queue_join(queue, 0) == DIST_OK);
    CHECK(dist_job_finish(&producer) == DIST_OK);
    dist_queue_free(&queue);
}

/* Heartbeats: the limit of a get, never a delay of what arrives. */
static void heartbeats(void) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(int));
    int beats = 0, work;
    while (beats < 3 && dist_queue_get(queue, &work, 0.02) == DIST_EMPTY) beats++;
    CHECK(dist_queue_put(queue, &(int){7}, 0) == DIST_OK);
    CHECK(dist_queue_get(queue, &work, 30.0) == DIST_OK && work == 7); /* at once */
    printf("heartbeats\n    %d, then %d\n", beats, work);
    dist_queue_free(&queue);
}

/* "The primary Queue should be changed to a PriorityQueue", so that control messages overtake the
 * work. Equals stay in their order. */
static void priorities(void) {
    enum { CONTROL, WORK };
    dist_queue *queue = dist_queue_open(.item_size = sizeof(int), .priority = true);
    for (int i = 0; i < 6; i++) CHECK(dist_queue_put_first(queue, WORK, &i, 0) == DIST_OK);
    CHECK(dist_queue_put_first(queue, CONTROL, &(int){99}, 0) == DIST_OK);
    int got[7];
    for (int i = 0; i < 7; i++) CHECK(dist_queue_get(queue, &got[i], 0) == DIST_OK);
    CHECK(dist_queue_get(queue, &(int){0}, 0) == DIST_EMPTY);
    show_ints("99 put last, before all others", got, 7);
    CHECK(got[0] == 99);
    for (int i = 0; i < 6; i++) CHECK(got[i + 1] == i);
    dist_queue_free(&queue);
}

/* "Insert a consumer, linking another producer into the chain." */
static double half(double x) { return x / 2; }
static double plus_one(double x) { return x + 1; }
DIST_FN1(double, half, double)
DIST_FN1(double, plus_one, double)

static void chain(void) {
    dist_queue *in = dist_queue_open(.item_size = sizeof(double), .capacity = 2);
    dist_queue *halves = dist_queue_open(.item_size = sizeof(double), .capacity = 2);
    dist_queue *out = dist_queue_open(.item_size = sizeof(double), .capacity = 64);
    dist_job *first = dist_pipe(in, half_task, halves, .executor = DIST_PROCESS, .workers = 2);
    dist_job *second = dist_pipe(halves, plus_one_task, out, .workers = 2);
    for (int i = 0; i < 20; i++) CHECK(dist_queue_put(in, &(double){i}, DIST_FOREVER) == DIST_OK);
    dist_queue_close(in);
    CHECK(dist_queue_put(in, &(double){0}, 0) == DIST_CLOSED);
    CHECK(dist_job_finish(&first) == DIST_OK && dist_job_finish(&second) == DIST_OK);
    double sum = 0, x;
    for (int i = 0; dist_queue_get(out, &x, DIST_FOREVER) == DIST_OK; i++) {
        CHECK(x == i / 2.0 + 1); /* in the order of the input */
        sum += x;
    }
    printf("a chain of two stages\n    %g\n", sum);
    CHECK(sum == 190 / 2.0 + 20);
    dist_queue_free(&in);
    dist_queue_free(&halves);
    dist_queue_free(&out);
}

/* The producer that makes itself again under another name, rerun_producer-N: a task that puts its
 * successor. No call is inside another one. */
static int renew(void *result, const void *item, void *ctx) {
    dist_queue *queue = *(dist_queue **)ctx;
    int left = *(const int *)item - 1;
    (void)result;
    return (int)(left ? dist_queue_put(queue, &left, DIST_FOREVER) : dist_queue_close(queue));
}

static void renewal(void) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(int), .capacity = 1);
    dist_job *renewing = dist_pipe(queue, renew, NULL, .workers = 1, .ctx = &queue);
    CHECK(dist_queue_put(queue, &(int){10000}, 0) == DIST_OK);
    CHECK(dist_job_finish(&renewing) == DIST_OK);
    dist_queue_free(&queue);
}

int main(void) {
    round_trip();
    heartbeats();
    priorities();
    chain();
    renewal();
    puts("queues: all of it holds");
    return 0;
}

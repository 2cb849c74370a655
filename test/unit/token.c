/* token.c - a switch that is seen by those who look and by those who sleep, in all processes, and
 * lives as long as somebody has it. */
#include "unit.h"
#include "common/token.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_readable(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1 && polled.revents == POLLIN;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static dist_token *new_token(void) {
    dist_token *token = dist_token_new();
    assert_non_null(token);
    assert_false(dist_token_cancelled(token));
    assert_false(is_readable(dist__token_fd(token)));
    return token;
}

TEST(a_cancelled_token_stays_cancelled_and_readable) {
    dist_token *token = new_token();
    int fd = dist__token_fd(token);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    for (int k = 0; k < 1000; k++) {
        errno = 77;
        dist_token_cancel(token);
        assert_int_equal(errno, 77);
        assert_true(dist_token_cancelled(token));
        assert_true(is_readable(fd));
    }
    dist_token_free(token);
    assert_false(is_open(fd));
}

TEST(a_token_whose_descriptor_the_host_has_closed_cancels_those_who_look) {
    dist_token *token = new_token();
    close(dist__token_fd(token));
    errno = 77;
    dist_token_cancel(token);
    assert_int_equal(errno, 77);
    assert_true(dist_token_cancelled(token));
    dist_token_free(token);
}

TEST(tokens_have_nothing_to_do_with_each_other) {
    dist_token *a = new_token(), *b = new_token();
    dist_token_cancel(a);
    assert_false(dist_token_cancelled(b) || is_readable(dist__token_fd(b)));
    dist_token_free(a);
    dist_token_cancel(b);
    assert_true(dist_token_cancelled(b));
    dist_token_free(b);
}

TEST(no_token_is_never_cancelled) {
    dist_token_cancel(NULL);
    assert_false(dist_token_cancelled(NULL));
    dist__token_ref(NULL);
    dist__token_unref(NULL);
    dist_token_free(NULL);
}

TEST(a_token_lives_as_long_as_somebody_has_it) {
    dist_token *token = new_token();
    int fd = dist__token_fd(token);
    dist__token_ref(token);
    dist__token_ref(token);
    dist_token_free(token); /* the caller's; tasks may still have it */
    dist_token_cancel(token);
    assert_true(dist_token_cancelled(token) && is_readable(fd));
    dist__token_unref(token);
    assert_true(dist_token_cancelled(token) && is_readable(fd));
    dist__token_unref(token);
    assert_false(is_open(fd));
}

static void *take_and_give_back(void *token) {
    for (int k = 0; k < 10000; k++) {
        dist__token_ref(token);
        dist_token_cancelled(token);
        dist__token_unref(token);
    }
    dist__token_unref(token);
    return NULL;
}

TEST(the_last_of_many_threads_frees_it) {
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    dist_token *token = new_token();
    int fd = dist__token_fd(token);
    for (int k = 0; k < THREADS; k++) dist__token_ref(token);
    for (int k = 0; k < THREADS; k++)
        assert_int_equal(pthread_create(&thread[k], NULL, take_and_give_back, token), 0);
    dist_token_free(token);
    for (int k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
    assert_false(is_open(fd));
}

/* A child that frees its own copy takes nothing from the parent; one that cancels, cancels all. */
TEST(a_child_cancels_for_its_parent_and_siblings) {
    dist_token *token = new_token();
    for (int cancels = 0; cancels < 2; cancels++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (cancels) dist_token_cancel(token);
            dist_token_free(token);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(dist_token_cancelled(token), cancels);
        assert_int_equal(is_readable(dist__token_fd(token)), cancels);
    }
    dist_token_free(token);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_cancelled_token_stays_cancelled_and_readable),
    cmocka_unit_test(a_token_whose_descriptor_the_host_has_closed_cancels_those_who_look),
    cmocka_unit_test(tokens_have_nothing_to_do_with_each_other),
    cmocka_unit_test(no_token_is_never_cancelled),
    cmocka_unit_test(a_token_lives_as_long_as_somebody_has_it),
    cmocka_unit_test(the_last_of_many_threads_frees_it),
    cmocka_unit_test(a_child_cancels_for_its_parent_and_siblings),
};
RUN(tests)

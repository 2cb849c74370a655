/* progress.c - the line of a progress bar in terminals of any width, and when it is drawn. */
#include "unit.h"
#include "common/os.h"
#include "common/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MOST_COLUMNS = 160 };

/* What stands on the screen: the line without its beginning and end, which must be right. */
static const char *shown(unsigned columns, const struct dist__progress_state *told) {
    static char line[DIST__PROGRESS_LINE + 1];
    memset(line, '\n', sizeof line);
    size_t size = dist__progress_line(line, columns, told);
    assert_true(size >= 4 && size <= DIST__PROGRESS_LINE && line[size] == '\n');
    assert_int_equal(line[0], '\r');
    assert_memory_equal(&line[size - 3], "\033[K", 3);
    line[size - 3] = '\0';
    assert_int_equal(strlen(line), size - 3);
    for (const unsigned char *at = (unsigned char *)line + 1; *at; at++)
        assert_true(*at >= 0x20 && *at != 0x7f);
    return line + 1;
}

/* Of text whose characters beyond ASCII all take `each` columns. */
static size_t width_of(const char *text, size_t each) {
    size_t columns = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        columns += *at < 0x80 ? 1 : *at >= 0xc0 ? each : 0;
    return columns;
}

static struct dist__progress_state at(size_t done, size_t total, double seconds) {
    return (struct dist__progress_state){
        .title = "resize images", .done = done, .total = total, .seconds = seconds};
}

TEST(a_line_tells_all_there_is_to_tell) {
    struct dist__progress_state told = at(420, 1000, 4.3);
    assert_string_equal(shown(80, &told),
                        "resize images [###########................]  42% 420/1000, 97/s, "
                        "0:06 left");
    told.failed = 3;
    assert_string_equal(shown(80, &told),
                        "resize images [#######..........]  42% 420/1000, 97/s, 0:06 left, "
                        "3 failed");
    told.done = 1000, told.ended = true, told.seconds = 75;
    assert_string_equal(shown(80, &told),
                        "resize images [#################] 100% 1000/1000, 13/s, in 1:15, "
                        "3 failed");
    told = at(0, 1000, 5);
    assert_string_equal(shown(80, &told),
                        "resize images [...........................]   0% 0/1000");
}

TEST(a_narrow_terminal_gets_what_matters_most) {
    struct dist__progress_state told = at(420, 1000, 4.3);
    assert_string_equal(shown(40, &told), "resize images [##....]  42%, 0:06 left");
    assert_string_equal(shown(20, &told), "resi.. [##...]  42%");
    assert_string_equal(shown(5, &told), " 42%");
    assert_string_equal(shown(4, &told), "");
    assert_string_equal(shown(0, &told), "");
    told.failed = 3;
    assert_string_equal(shown(40, &told), "resize images [###.....]  42%, 3 failed");
    assert_string_equal(shown(20, &told), "re..  42%, 3 failed");
}

TEST(a_call_that_ended_early_does_not_look_complete) {
    struct dist__progress_state told = at(999999, 1000000, 75);
    told.ended = true, told.failed = 1;
    const char *line = shown(80, &told);
    assert_non_null(strstr(line, " 99% "));
    assert_non_null(strstr(line, ".]"));
    assert_non_null(strstr(line, "in 1:15, 1 failed"));
    assert_null(strstr(line, "left"));
}

TEST(the_bar_stays_where_it_is) {
    struct dist__progress_state first = at(1, 1000, 0.5), later;
    size_t end = (size_t)(strchr(shown(80, &first), ']') - shown(80, &first));
    for (size_t done = 0; done <= 1000; done += 7) {
        later = at(done, 1000, (double)done * 0.9 + 0.1);
        const char *line = shown(80, &later);
        assert_int_equal(strchr(line, ']') - line, end);
    }
}

static const char *const titles[] = {
    "",
    "x",
    "four",
    "tests",
    "a title of forty columns, more or less",
    ("a title that is far longer than any line could be: a title that is far longer than any "
     "line could be: a title that is far longer than any line could be: a title that is longer"),
    "gr\303\266\303\237e",
};

TEST(every_line_fits_its_terminal) {
    static const size_t totals[] = {0, 1, 7, 99999, 100000, 1u << 31, SIZE_MAX};
    static const double seconds[] = {0, 1e-9, 0.21, 59.9, 86400, 1e9, 1e300};
    for (unsigned columns = 0; columns < MOST_COLUMNS + 40; columns++)
        for (size_t k = 0; k < 2000; k++) {
            struct dist__progress_state told =
                at(0, totals[random_below(N(totals))], seconds[random_below(N(seconds))]);
            told.title = titles[random_below(N(titles))];
            told.done = random_below(3) ? random_below(SIZE_MAX >> 12) : told.total;
            if (random_below(2)) told.done = told.done % (told.total ? told.total : 1);
            told.failed = random_below(2) ? 0 : random_below(SIZE_MAX >> 12);
            told.ended = random_below(2);
            assert_true(width_of(shown(columns, &told), 1) < (columns ? columns : 1));
        }
}

TEST(wide_titles_fit_too) {
    struct dist__progress_state told = at(5, 10, 1);
    told.title = "\345\244\247\343\201\215\343\201\225 \345\244\247\343\201\215\343\201\225";
    for (unsigned columns = 1; columns < 120; columns++)
        assert_true(width_of(shown(columns, &told), 2) < columns);
    assert_non_null(strstr(shown(80, &told), told.title));
    told.title = "e\314\201e\314\201e\314\201e\314\201e\314\201"; /* accents take no column */
    assert_non_null(strstr(shown(30, &told), told.title));
}

TEST(what_cannot_be_shown_is_a_question_mark) {
    static const struct {
        const char *title, *shown;
    } cases[] = {
        {"a\nb\tc\033[31md\177", "a?b?c?[31md? "},
        {"\302\205 \342\200\256 x", "? ? x "},
        {"bad \377\301\201 \303", "bad ?? ? "},
        {"\355\240\200", "? "},
        {"\364\220\200\200", "? "},
        {"\303\274 ok", "\303\274 ok "},
    };
    for (size_t k = 0; k < N(cases); k++) {
        struct dist__progress_state told = at(5, 10, 1);
        told.title = cases[k].title;
        const char *line = shown(120, &told);
        assert_memory_equal(line, cases[k].shown, strlen(cases[k].shown));
    }
}

TEST(no_title_whatever_breaks_a_line) {
    for (unsigned round = 0; round < 100000; round++) {
        char title[2000];
        size_t size = random_below(sizeof title);
        bool plain = random_below(2); /* zero-width characters: more bytes than columns */
        for (size_t i = 0; i < size; i++)
            title[i] = plain ? (char)(1 + random_below(255)) : "\314\201"[i % 2];
        title[size] = '\0';
        struct dist__progress_state told = at(random_below(12), 10, 1);
        told.title = title;
        shown((unsigned)random_below(250), &told);
    }
}

static void assert_tells(size_t done, size_t total, double seconds, const char *text) {
    struct dist__progress_state told = at(done, total, seconds);
    const char *line = shown(120, &told);
    if (!strstr(line, text)) fail_msg("\"%s\" does not tell \"%s\"", line, text);
}

TEST(numbers_are_for_people) {
    assert_tells(99999, 100000, 1, " 99999/100k, 99999/s, ");
    assert_tells(1239999, 12399999, 1, " 1.23M/12.3M, 1.23M/s, ");
    assert_tells(999999, 123999999, 1, " 999k/123M, 999k/s, ");
    assert_tells(SIZE_MAX, SIZE_MAX, 1, "100% 18.4E/18.4E, ");
    assert_tells(SIZE_MAX - 1, SIZE_MAX, 1, " 99% 18.4E/18.4E, ");
    assert_tells(99, 1000, 10, ", 9.9/s, ");
    assert_tells(100, 1000, 10, ", 10/s, ");
    assert_tells(1, 10, 10, ", 6.0/min, ");
    assert_tells(1, 10, 120, ", 30/h, ");
    assert_tells(1, 10, 1e300, ", 0.0/h, 9999 days left");
    assert_tells(5, 10, 0.001, ", 0:01 left");
    assert_tells(5, 10, 59, ", 0:59 left");
    assert_tells(5, 10, 60, ", 1:00 left");
    assert_tells(5, 10, 3725, ", 1:02:05 left");
    assert_tells(5, 10, 86400 * 5.5, ", 5 days left");
    assert_tells(12, 10, 1, "100% 12/10, ");
    assert_tells(0, 0, 1, "100% 0/0");
}

TEST(the_rest_takes_as_long_as_what_is_done) {
    assert_true(dist__progress_eta(1, 4, 10) == 30);
    assert_true(dist__progress_eta(0, 4, 10) == 0);
    assert_true(dist__progress_eta(4, 4, 10) == 0);
    assert_true(dist__progress_eta(5, 4, 10) == 0);
    assert_true(dist__progress_eta(1, 4, 0) == 0);
    assert_true(dist__progress_eta(1, SIZE_MAX, 1) > 1e19);
}

/* ------------------------------------------------------------------ drawing */

struct screen { /* stderr is something else for a while */
    int saved, end;
};

static struct screen redirect(int to, int end) {
    struct screen screen = {dup(STDERR_FILENO), end};
    assert_true(to >= 0 && end >= 0 && screen.saved >= 0);
    assert_int_equal(dup2(to, STDERR_FILENO), STDERR_FILENO);
    close(to);
    return screen;
}

static struct screen terminal(unsigned short columns) {
    int end = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(end >= 0 && grantpt(end) == 0 && unlockpt(end) == 0);
    struct winsize window = {.ws_row = 25, .ws_col = columns};
    ioctl(end, TIOCSWINSZ, &window);
    return redirect(open(ptsname(end), O_RDWR | O_NOCTTY), end);
}

static size_t read_and_restore(struct screen screen, char text[static 4096]) {
    size_t size = 0;
    ssize_t got;
    dup2(screen.saved, STDERR_FILENO); /* the other end has no writer now: all it wrote arrives */
    close(screen.saved);
    while ((got = read(screen.end, text + size, 4095 - size)) > 0) size += (size_t)got;
    close(screen.end);
    text[size] = '\0';
    return size;
}

/* A call of so many ms; returns how often it has drawn. */
static size_t call(unsigned ms, struct screen screen, char text[static 4096]) {
    struct dist__progress progress;
    uint64_t end = dist__now_ns() + ms * UINT64_C(1000000);
    errno = EXDEV;
    dist__progress_begin(&progress, "call", 1000);
    assert_int_equal(errno, EXDEV);
    for (size_t done = 0; dist__now_ns() < end; done++) {
        dist__progress_draw(&progress, done < 999 ? done : 999, 0);
        usleep(1000);
    }
    errno = EXDEV;
    dist__progress_draw(&progress, 1000, 1);
    dist__progress_end(&progress, 1000, 1);
    assert_int_equal(errno, EXDEV);
    assert_true(dist__progress_due_ns(&progress) == UINT64_MAX);
    size_t drawn = 0, size = read_and_restore(screen, text);
    for (size_t i = 0; i < size; i++) drawn += text[i] == '\r' && text[i + 1] != '\n';
    return drawn;
}

TEST(a_terminal_sees_few_updates_and_the_end) {
    char text[4096];
    setenv("TERM", "xterm", 1);
    size_t drawn = call(1000, terminal(60), text);
    assert_in_range(drawn, 2, 11); /* fewer than 10 a second if the machine is busy */
    const char *last = strrchr(text, '[');
    assert_non_null(strstr(text, "] 100% 1000/1000, "));
    assert_string_equal(last, "[K\r\n"); /* the terminal adds \r */
    assert_non_null(strstr(text, ", 1 failed\033[K\r\n"));
    assert_null(strchr(strchr(text, '\n') + 1, '\n'));
}

TEST(a_short_call_draws_nothing) {
    char text[4096];
    setenv("TERM", "xterm", 1);
    assert_int_equal(call(20, terminal(60), text), 0);
    assert_string_equal(text, "");
}

TEST(a_terminal_that_does_not_tell_its_width_has_80_columns) {
    char text[4096];
    setenv("TERM", "xterm", 1);
    assert_true(call(300, terminal(0), text) >= 1);
    text[strcspn(text, "\033")] = '\0';
    assert_in_range(strlen(text), 60, 80);
}

TEST(nothing_is_written_where_a_line_cannot_be_drawn_again) {
    char text[4096];
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    setenv("TERM", "xterm", 1);
    assert_int_equal(call(300, redirect(pipes[1], pipes[0]), text), 0);
    assert_string_equal(text, "");
    setenv("TERM", "dumb", 1);
    assert_int_equal(call(300, terminal(60), text), 0);
    assert_string_equal(text, "");
}

TEST(a_terminal_that_has_gone_does_no_harm) {
    struct dist__progress progress;
    char text[4096];
    setenv("TERM", "xterm", 1);
    struct screen screen = terminal(60);
    dist__progress_begin(&progress, "gone", 10);
    close(screen.end);
    usleep(250000);
    errno = EXDEV;
    dist__progress_draw(&progress, 1, 0);
    dist__progress_end(&progress, 10, 0);
    assert_int_equal(errno, EXDEV);
    screen.end = open("/dev/null", O_RDONLY);
    read_and_restore(screen, text);
}

TEST(without_a_title_nothing_is_ever_due) {
    struct dist__progress progress;
    char text[4096];
    setenv("TERM", "xterm", 1);
    struct screen screen = terminal(80);
    dist__progress_begin(&progress, NULL, 10);
    assert_true(dist__progress_due_ns(&progress) == UINT64_MAX);
    dist__progress_draw(&progress, 1, 0);
    dist__progress_end(&progress, 10, 0);
    assert_int_equal(read_and_restore(screen, text), 0);
}

TEST(due_is_when_the_next_draw_draws) {
    struct dist__progress progress;
    char text[4096];
    setenv("TERM", "xterm", 1);
    struct screen screen = terminal(80);
    uint64_t before = dist__now_ns();
    dist__progress_begin(&progress, "due", 10);
    uint64_t due = dist__progress_due_ns(&progress);
    assert_true(due >= before + 200000000 && due <= dist__now_ns() + 200000000);
    while (dist__now_ns() < due) usleep(1000);
    dist__progress_draw(&progress, 1, 0);
    assert_true(dist__progress_due_ns(&progress) >= due + 100000000);
    dist__progress_draw(&progress, 2, 0);
    read_and_restore(screen, text);
    assert_non_null(strstr(text, "1/10"));
    assert_null(strstr(text, "2/10"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_line_tells_all_there_is_to_tell),
    cmocka_unit_test(a_narrow_terminal_gets_what_matters_most),
    cmocka_unit_test(a_call_that_ended_early_does_not_look_complete),
    cmocka_unit_test(the_bar_stays_where_it_is),
    cmocka_unit_test(every_line_fits_its_terminal),
    cmocka_unit_test(wide_titles_fit_too),
    cmocka_unit_test(what_cannot_be_shown_is_a_question_mark),
    cmocka_unit_test(no_title_whatever_breaks_a_line),
    cmocka_unit_test(numbers_are_for_people),
    cmocka_unit_test(the_rest_takes_as_long_as_what_is_done),
    cmocka_unit_test(a_terminal_sees_few_updates_and_the_end),
    cmocka_unit_test(a_short_call_draws_nothing),
    cmocka_unit_test(a_terminal_that_does_not_tell_its_width_has_80_columns),
    cmocka_unit_test(nothing_is_written_where_a_line_cannot_be_drawn_again),
    cmocka_unit_test(a_terminal_that_has_gone_does_no_harm),
    cmocka_unit_test(without_a_title_nothing_is_ever_due),
    cmocka_unit_test(due_is_when_the_next_draw_draws),
};
RUN(tests)

/* progress.c - when to draw a progress bar, and its line:
 *
 *     resize images [########............]  42% 420/1000, 97/s, 0:06 left, 3 failed
 *
 * What does not fit is left out, the least important first. */
#include "progress.h"
#include "os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    FIRST_NS = 200000000, /* calls shorter than this draw nothing */
    EVERY_NS = 100000000, /* at least between two redraws */
    USUAL_COLUMNS = 80,   /* of a terminal that does not say */
    MOST_COLUMNS = 160,   /* a longer line is no easier to read */
    MOST_TITLE_BYTES = 640,
    LEAST_TITLE = 4,
    LEAST_BAR = 5,
    MOST_BAR = 40,
    FIELD_SIZE = 48
};

/* ------------------------------------------------------------------ numbers for people */

/* 42, 99999, 100k, 1.23M, 18.4E */
static void write_count(char text[static FIELD_SIZE], size_t count) {
    static const char units[] = "kMGTPE";
    if (count < 100000) {
        snprintf(text, FIELD_SIZE, "%zu", count);
        return;
    }
    size_t scale = 1000;
    const char *unit = units;
    for (; count / scale >= 1000; unit++) scale *= 1000;
    unsigned whole = (unsigned)(count / scale);
    unsigned hundredths = (unsigned)(count % scale / (scale / 100));
    if (whole >= 100) snprintf(text, FIELD_SIZE, "%u%c", whole, *unit);
    else if (whole >= 10) snprintf(text, FIELD_SIZE, "%u.%u%c", whole, hundredths / 10, *unit);
    else snprintf(text, FIELD_SIZE, "%u.%02u%c", whole, hundredths, *unit);
}

/* 97/s, 3.2/s, 1.5/min */
static void write_rate(char text[static FIELD_SIZE], size_t done, double seconds) {
    static const struct {
        double seconds;
        const char *name;
    } units[] = {{1, "s"}, {60, "min"}, {3600, "h"}};
    size_t u = 0;
    while (u < 2 && (double)done * units[u].seconds < seconds) u++;
    double rate = (double)done * units[u].seconds / seconds;
    if (rate >= 10) {
        char count[FIELD_SIZE];
        write_count(count, rate < 1e18 ? (size_t)rate : (size_t)1e18);
        snprintf(text, FIELD_SIZE, ", %.20s/%s", count, units[u].name);
    } else {
        unsigned tenths = (unsigned)(rate * 10);
        snprintf(text, FIELD_SIZE, ", %u.%u/%s", tenths / 10, tenths % 10, units[u].name);
    }
}

/* 0:32, 1:02:05, 5 days */
static void write_time(char text[static FIELD_SIZE], double seconds) {
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400, MOST_DAYS = 9999 };
    unsigned s = seconds < (double)DAY * MOST_DAYS ? (unsigned)seconds : DAY * MOST_DAYS;
    if (s >= 4 * DAY) snprintf(text, FIELD_SIZE, "%u days", s / DAY);
    else if (s < HOUR) snprintf(text, FIELD_SIZE, "%u:%02u", s / MINUTE, s % MINUTE);
    else snprintf(text, FIELD_SIZE, "%u:%02u:%02u", s / HOUR, s % HOUR / MINUTE, s % MINUTE);
}

double dist__progress_eta(size_t done, size_t total, double seconds) {
    if (done == 0 || done >= total || !(seconds > 0)) return 0;
    return seconds * ((double)(total - done) / (double)done);
}

/* ------------------------------------------------------------------ titles: UTF-8 from anywhere */

struct glyph {
    const char *bytes;
    size_t size;
    unsigned columns;
};

struct code_range {
    uint32_t first, last;
};

static bool is_in(const struct code_range *ranges, uint32_t code) {
    while (ranges->last && code > ranges->last) ranges++;
    return ranges->last && code >= ranges->first;
}

/* Control characters, and those that change what others look like or where they stand. */
static const struct code_range controls[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x200e, 0x200f},
                                             {0x2028, 0x202e}, {0x2066, 0x2069}, {0, 0}};

/* Roughly; a terminal may disagree about rare ones, which only costs the line its neatness. */
static const struct code_range without_width[] = {
    {0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0, 0}};
static const struct code_range wide[] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                                         {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                         {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
                                         {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}, {0, 0}};

/* The next character of *text, which moves on. What cannot be shown is a question mark. */
static struct glyph next_glyph(const char **text) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800,
                                     0x10000}; /* by size: no longer than need be */
    static const struct glyph unknown = {"?", 1, 1};
    const char *bytes = *text;
    const unsigned char *at = (const unsigned char *)bytes;
    size_t size = *at < 0x80   ? 1
                  : *at < 0xc0 ? 0
                  : *at < 0xe0 ? 2
                  : *at < 0xf0 ? 3
                  : *at < 0xf8 ? 4
                               : 0;
    uint32_t code = size < 2 ? *at : *at & (0x7fu >> size);
    for (size_t k = 1; k < size; k++) {
        if ((at[k] & 0xc0) != 0x80) size = 0;
        else code = code << 6 | (at[k] & 0x3f);
    }
    *text += size ? size : 1;
    bool surrogate = code >= 0xd800 && code < 0xe000;
    if (size == 0 || code < least[size] || code > 0x10ffff || surrogate || is_in(controls, code))
        return unknown;
    return (struct glyph){bytes, size, is_in(without_width, code) ? 0 : is_in(wide, code) ? 2 : 1};
}

/* Columns that the title takes; more than `most` do not matter. */
static unsigned width_of(const char *title, unsigned most) {
    unsigned columns = 0;
    while (*title && columns <= most) columns += next_glyph(&title).columns;
    return columns;
}

/* ------------------------------------------------------------------ the line */

enum field { PERCENT, COUNTS, RATE, TIME, FAILED, FIELDS };

struct layout {
    unsigned room; /* columns that are left */
    char text[FIELDS][FIELD_SIZE];
    unsigned usual[FIELDS]; /* columns to keep free for it, so that the bar does not jump */
    bool shown[FIELDS];
    unsigned title, bar; /* columns; 0: none */
};

static void write_fields(struct layout *layout, const struct dist__progress_state *state) {
    char a[FIELD_SIZE], b[FIELD_SIZE];
    size_t done = state->done, total = state->total;
    unsigned percent = done >= total ? 100 : (unsigned)((double)done / (double)total * 100);
    snprintf(layout->text[PERCENT], FIELD_SIZE, "%3u%%",
             done < total && percent > 99 ? 99 : percent);
    write_count(a, done);
    write_count(b, total);
    snprintf(layout->text[COUNTS], FIELD_SIZE, " %.20s/%.20s", a, b);
    layout->usual[COUNTS] = (unsigned)(2 * strlen(b) + 2);
    layout->usual[RATE] = sizeof ", 99999/s" - 1;
    layout->usual[TIME] = sizeof ", 12:34 left" - 1;
    double eta = dist__progress_eta(done, total, state->seconds);
    if (done > 0 && state->seconds > 0) write_rate(layout->text[RATE], done, state->seconds);
    if (state->ended && state->seconds < 10) {
        unsigned tenths = (unsigned)(state->seconds * 10);
        snprintf(layout->text[TIME], FIELD_SIZE, ", in %u.%u s", tenths / 10, tenths % 10);
    } else if (state->ended || eta > 0) {
        write_time(a, state->ended ? state->seconds : eta + 0.999);
        snprintf(layout->text[TIME], FIELD_SIZE, state->ended ? ", in %.20s" : ", %.20s left", a);
    }
    if (!state->failed) return;
    write_count(a, state->failed);
    snprintf(layout->text[FAILED], FIELD_SIZE, ", %.20s failed", a);
}

/* Shows the field if there is room for it. */
static void show(struct layout *layout, enum field field) {
    unsigned columns = (unsigned)strlen(layout->text[field]);
    if (columns < layout->usual[field]) columns = layout->usual[field];
    layout->shown[field] = columns <= layout->room;
    if (layout->shown[field]) layout->room -= columns;
}

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Shares out the columns, the most important first. */
static void lay_out(struct layout *layout, const char *title, unsigned columns) {
    unsigned width = width_of(title, columns);
    layout->room =
        columns ? columns - 1 : 0; /* in the last one some terminals go to the next line */
    show(layout, PERCENT);
    show(layout, FAILED);
    unsigned most = least(least(width, columns / 3), layout->room ? layout->room - 1 : 0);
    layout->title = most >= least(width, LEAST_TITLE) ? most : 0;
    if (layout->title) layout->room -= layout->title + 1;
    show(layout, TIME);
    unsigned frame = sizeof "[] " - 1;
    if (layout->room >= LEAST_BAR + frame) {
        layout->bar = LEAST_BAR;
        layout->room -= LEAST_BAR + frame;
    }
    show(layout, COUNTS);
    show(layout, RATE);
    unsigned grown = layout->bar ? least(layout->room, MOST_BAR - LEAST_BAR) : 0;
    layout->bar += grown;
    layout->room -= grown;
    if (layout->title) layout->title += least(layout->room, width - layout->title);
}

static char *append(char *to, const char *bytes, size_t size) {
    memcpy(to, bytes, size);
    return to + size;
}

/* Cuts the title to `columns` and says so. */
static char *append_title(char *to, const char *title, unsigned columns) {
    unsigned left = columns;
    bool cut = width_of(title, columns) > columns;
    if (cut) left -= 2;
    for (const char *limit = to + MOST_TITLE_BYTES; *title;) {
        struct glyph glyph = next_glyph(&title);
        if (glyph.columns > left || glyph.size > (size_t)(limit - to)) break;
        to = append(to, glyph.bytes, glyph.size);
        left -= glyph.columns;
    }
    return append(to, cut ? ".. " : " ", cut ? 3 : 1);
}

static char *append_bar(char *to, unsigned columns, size_t done, size_t total) {
    unsigned full = done >= total ? columns : (unsigned)((double)done / (double)total * columns);
    *to++ = '[';
    memset(to, '#', full);
    memset(to + full, '.', columns - full);
    return append(to + columns, "] ", 2);
}

_Static_assert(1 + MOST_TITLE_BYTES + 3 + MOST_BAR + 3 + FIELDS * FIELD_SIZE + 3 <=
                   DIST__PROGRESS_LINE,
               "a line has room for all its parts");

size_t dist__progress_line(char line[static DIST__PROGRESS_LINE], unsigned columns,
                           const struct dist__progress_state *state) {
    struct layout layout = {.room = 0};
    columns = least(columns, MOST_COLUMNS);
    write_fields(&layout, state);
    lay_out(&layout, state->title, columns);
    char *to = append(line, "\r", 1);
    if (layout.title) to = append_title(to, state->title, layout.title);
    if (layout.bar) to = append_bar(to, layout.bar, state->done, state->total);
    for (enum field field = 0; field < FIELDS; field++)
        if (layout.shown[field]) to = append(to, layout.text[field], strlen(layout.text[field]));
    return (size_t)(append(to, "\033[K", 3) - line);
}

/* ------------------------------------------------------------------ drawing */

static bool can_redraw(void) {
    int saved = errno;
    const char *terminal = getenv("TERM");
    bool can = isatty(STDERR_FILENO) && !(terminal && !strcmp(terminal, "dumb"));
    errno = saved;
    return can;
}

void dist__progress_begin(struct dist__progress *progress, const char *title, size_t total) {
    *progress = (struct dist__progress){.title = title, .total = total, .due_ns = UINT64_MAX};
    if (!title || !can_redraw()) return;
    progress->begin_ns = dist__now_ns();
    progress->due_ns = progress->begin_ns + FIRST_NS;
}

static void draw(const struct dist__progress *progress, size_t done, size_t failed, bool ended) {
    int saved = errno;
    char line[DIST__PROGRESS_LINE + 1];
    struct winsize window = {.ws_col = 0};
    unsigned columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) ? 0 : window.ws_col;
    struct dist__progress_state state = {.title = progress->title,
                                         .done = done,
                                         .total = progress->total,
                                         .failed = failed,
                                         .seconds =
                                             (double)(dist__now_ns() - progress->begin_ns) * 1e-9,
                                         .ended = ended};
    size_t size = dist__progress_line(line, columns ? columns : USUAL_COLUMNS, &state);
    if (ended) line[size++] = '\n';
    if (write(STDERR_FILENO, line, size) < 0) { /* the call goes on without */
    }
    errno = saved;
}

void dist__progress_draw(struct dist__progress *progress, size_t done, size_t failed) {
    if (progress->due_ns == UINT64_MAX) return;
    uint64_t now = dist__now_ns();
    if (now < progress->due_ns) return;
    progress->due_ns = now + EVERY_NS;
    progress->drawn = true;
    draw(progress, done, failed, false);
}

void dist__progress_end(struct dist__progress *progress, size_t done, size_t failed) {
    if (progress->drawn) draw(progress, done, failed, true);
    progress->due_ns = UINT64_MAX;
    progress->drawn = false;
}

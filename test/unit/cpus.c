/* cpus.c - the CPU quota of a cgroup, read from directories made for the purpose. */
#include "unit.h"
#include "common/cpus.h"

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *walk) {
    (void)s, (void)type, (void)walk;
    return remove(path);
}

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/dist-unit-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Writes root/path, making the directories on the way. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static unsigned cpus(const char *membership) { return dist__cpus_of_cgroup(root, membership); }

TEST(v2_quota_is_rounded_up) {
    static const struct {
        const char *text;
        unsigned cpus;
    } rows[] = {{"100000 100000\n", 1}, {"150000 100000\n", 2}, {"200000 100000\n", 2},
                {"200001 100000\n", 3}, {"1 100000\n", 1},      {"50000 10000\n", 5},
                {"max 100000\n", 0},    {"max\n", 0},           {"", 0},
                {"nonsense\n", 0},      {"-1 100000\n", 0},     {"100000 0\n", 0},
                {"100000\n", 0}};
    for (size_t i = 0; i < N(rows); i++) {
        put("a/cpu.max", rows[i].text);
        assert_int_equal(cpus("0::/a\n"), rows[i].cpus);
    }
}

TEST(v2_least_quota_on_the_way_up_counts) {
    put("a/cpu.max", "300000 100000\n");
    put("a/b/cpu.max", "max 100000\n");
    put("a/b/c/cpu.max", "900000 100000\n");
    assert_int_equal(cpus("0::/a/b/c\n"), 3);
    assert_int_equal(cpus("0::/a/b\n"), 3);
    put("a/b/cpu.max", "200000 100000\n");
    assert_int_equal(cpus("0::/a/b/c\n"), 2);
    put("a/b/c/cpu.max", "100000 100000\n");
    assert_int_equal(cpus("0::/a/b/c\n"), 1);
    assert_int_equal(cpus("0::/a\n"), 3);
}

/* In a container the path of the host is not mounted, and the root is the container's own group. */
TEST(v2_root_of_the_mount_counts_for_every_path) {
    put("cpu.max", "400000 100000\n");
    assert_int_equal(cpus("0::/\n"), 4);
    assert_int_equal(cpus("0::/not/mounted/here\n"), 4);
    assert_int_equal(cpus("0::/../../other\n"), 4);
}

TEST(v1_quota_is_found_under_the_controllers_names) {
    put("cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n");
    put("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus("4:cpu,cpuacct:/x\n"), 3);
    assert_int_equal(cpus("9:memory:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/\n"), 3);
    assert_int_equal(cpus("4:cpu,cpuacct:/x/deeper\n"), 3);
}

TEST(v1_quota_is_found_under_cpu) {
    put("cpu/x/cpu.cfs_quota_us", "100000\n");
    put("cpu/x/cpu.cfs_period_us", "50000\n");
    assert_int_equal(cpus("4:cpu:/x\n"), 2);
    assert_int_equal(cpus("4:cpuacct,cpu:/x\n"), 2);
}

TEST(v1_least_quota_on_the_way_up_counts) {
    put("cpu/cpu.cfs_quota_us", "800000\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    put("cpu/x/cpu.cfs_quota_us", "-1\n");
    put("cpu/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus("4:cpu:/x\n"), 8);
    put("cpu/x/y/cpu.cfs_quota_us", "50000\n");
    put("cpu/x/y/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus("4:cpu:/x/y\n"), 1);
    assert_int_equal(cpus("4:cpu:/elsewhere\n"), 8);
}

TEST(v1_other_controllers_do_not_count) {
    put("cpuset/x/cpu.cfs_quota_us", "100000\n");
    put("cpuset/x/cpu.cfs_period_us", "100000\n");
    put("cpu/x/cpu.cfs_quota_us", "100000\n");
    put("cpu/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus("3:cpuset:/x\n2:cpuacct:/x\n"), 0);
}

TEST(v1_without_period_is_no_limit) {
    put("cpu/x/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(cpus("4:cpu:/x\n"), 0);
}

TEST(both_versions_at_once_give_the_least) {
    put("cpu/x/cpu.cfs_quota_us", "300000\n");
    put("cpu/x/cpu.cfs_period_us", "100000\n");
    put("x/cpu.max", "200000 100000\n");
    assert_int_equal(cpus("4:cpu:/x\n0::/x\n"), 2);
    assert_int_equal(cpus("4:cpu:/x\n0::/y\n"), 3);
}

TEST(no_cgroup_is_no_limit) {
    assert_int_equal(cpus(""), 0);
    assert_int_equal(cpus("\n\n"), 0);
    assert_int_equal(cpus("0::/nowhere\n"), 0);
    assert_int_equal(cpus("4:cpu:/nowhere\n"), 0);
    assert_int_equal(cpus("garbage"), 0);
    assert_int_equal(cpus(":::::\n0:\n12\n"), 0);
    assert_int_equal(dist__cpus_of_cgroup("/not/a/directory", "0::/a\n"), 0);
}

TEST(a_path_that_is_too_long_leaves_the_root) {
    static char line[6000];
    put("cpu.max", "200000 100000\n");
    snprintf(line, sizeof line, "0::");
    for (size_t at = strlen(line); at + 10 < sizeof line; at += 9)
        snprintf(line + at, 10, "/%08d", 7);
    assert_int_equal(cpus(line), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
static const struct CMUnitTest tests[] = {
    CASE(v2_quota_is_rounded_up),
    CASE(v2_least_quota_on_the_way_up_counts),
    CASE(v2_root_of_the_mount_counts_for_every_path),
    CASE(v1_quota_is_found_under_the_controllers_names),
    CASE(v1_quota_is_found_under_cpu),
    CASE(v1_least_quota_on_the_way_up_counts),
    CASE(v1_other_controllers_do_not_count),
    CASE(v1_without_period_is_no_limit),
    CASE(both_versions_at_once_give_the_least),
    CASE(no_cgroup_is_no_limit),
    CASE(a_path_that_is_too_long_leaves_the_root),
};
RUN(tests)

/* sanitized.h - which sanitizer this is built with, whichever compiler says so. */
#ifndef DIST_TEST_SANITIZED_H
#define DIST_TEST_SANITIZED_H

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define THREAD_SANITIZED 1 /* cannot start threads in a child of a process that has some */
#else
#define THREAD_SANITIZED 0
#endif

#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define ADDRESS_SANITIZED 1
#else
#define ADDRESS_SANITIZED 0
#endif

#define SANITIZED (THREAD_SANITIZED || ADDRESS_SANITIZED)

#endif

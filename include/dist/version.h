/* version.h - the version of the headers. dist_version() is that of the library in use. */
#ifndef DIST_VERSION_H
#define DIST_VERSION_H

#define DIST_VERSION_MAJOR 0
#define DIST_VERSION_MINOR 1
#define DIST_VERSION_PATCH 0
#define DIST_VERSION       "0.1.0"

#endif

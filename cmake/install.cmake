# Headers, both libraries, find_package(dist) and pkg-config.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/dist DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS dist dist_shared dist_static EXPORT dist-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dist)
install(EXPORT dist-targets NAMESPACE dist:: DESTINATION ${package})
configure_package_config_file(cmake/dist-config.cmake.in dist-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(dist-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/dist-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/dist-config-version.cmake DESTINATION ${package})

# Relative to the file itself, so that `cmake --install --prefix` and a moved tree work.
file(RELATIVE_PATH DIST_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" DIST_PC_PREFIX ${DIST_PC_PREFIX})
configure_file(cmake/dist.pc.in dist.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/dist.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

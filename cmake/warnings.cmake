# The warnings that all C code of the project is compiled with, and the sanitizers if asked for.
function(dist_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    -Wmissing-prototypes $<$<BOOL:${DIST_WERROR}>:-Werror>)
endfunction()

if(DIST_SANITIZE)
  add_compile_options(-fsanitize=${DIST_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    $<$<CONFIG:Debug>:-O1>)
  add_link_options(-fsanitize=${DIST_SANITIZE})
endif()

# One function makes the libraries of a folder, from its files' suffixes:
#   *_actor.cpp -> <folder>_actor (may use CAF); every other *.cpp -> <folder>_logic (never CAF).
# Tests mirror the tree: tests/<folder>/*_test.cpp become one program, test_<folder>.
#
#   flywheel_folder(cluster/journal DEPS cluster/base cluster/content LIBS SQLite::SQLite3)
#
# DEPS are other folders (their logic library); LIBS are targets or libraries. The folder's headers are included as
# "cluster/journal/journal.hpp" from the root.

function(flywheel_folder folder)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;ACTOR_DEPS;TEST_LIBS" ${ARGN})
  string(REPLACE "/" "_" name ${folder})
  file(GLOB all CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  set(actor ${all})
  list(FILTER actor INCLUDE REGEX "_actor\\.cpp$")
  set(logic ${all})
  list(FILTER logic EXCLUDE REGEX "(_actor|_main|/commands[a-z_]*)\\.cpp$") # a program's own files

  if(logic)
    add_library(${name}_logic STATIC ${logic})
    set(scope PUBLIC)
  else()
    add_library(${name}_logic INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(${name}_logic ${scope} flywheel_options ${ARG_LIBS})
  foreach(dep ${ARG_DEPS})
    string(REPLACE "/" "_" dep_name ${dep})
    target_link_libraries(${name}_logic ${scope} ${dep_name}_logic)
  endforeach()

  if(actor)
    add_library(${name}_actor STATIC ${actor})
    target_link_libraries(${name}_actor PUBLIC ${name}_logic flywheel_caf)
    foreach(dep ${ARG_ACTOR_DEPS})
      string(REPLACE "/" "_" dep_name ${dep})
      target_link_libraries(${name}_actor PUBLIC ${dep_name}_actor)
    endforeach()
  endif()

  if(FLYWHEEL_TESTS)
    file(GLOB tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cpp)
    if(tests)
      add_executable(test_${name} ${tests})
      target_link_libraries(test_${name} PRIVATE ${name}_logic flywheel_test_main ${ARG_TEST_LIBS})
      target_compile_options(test_${name} PRIVATE $<$<CONFIG:Release>:-O1>) # a third less time to compile than -O2
      if(actor)
        target_link_libraries(test_${name} PRIVATE ${name}_actor)
      endif()
      if(FLYWHEEL_SANITIZE) # GCC 12 sees uninitialised parts in std::regex once it is instrumented
        target_compile_options(test_${name} PRIVATE -Wno-maybe-uninitialized)
      endif()
      target_compile_definitions(test_${name} PRIVATE FLYWHEEL_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                      FLYWHEEL_BINARY_DIR="${PROJECT_BINARY_DIR}")
      gtest_discover_tests(test_${name} TEST_PREFIX "${folder}:" DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
    endif()
  endif()
endfunction()

# A weak symbol outside of the level's namespace may be merged with another level's copy, which an older CPU then runs.
# cmake -DNM=<nm> -DLEVEL=<level> "-DOBJECTS=<a.o|b.o>" -P check_symbols.cmake
string(REPLACE "|" ";" OBJECTS "${OBJECTS}")
execute_process(
  COMMAND ${NM} -C --defined-only ${OBJECTS}
  OUTPUT_VARIABLE SYMBOLS COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" WEAK "${SYMBOLS}")
list(FILTER WEAK EXCLUDE REGEX "pararnn::${LEVEL}::|DW\\.ref\\.")  # the latter: pointers of the exception tables
if(WEAK)
  list(JOIN WEAK "\n" WEAK)
  message(FATAL_ERROR "weak symbols outside of pararnn::${LEVEL}:\n${WEAK}")
endif()

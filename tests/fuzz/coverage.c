/* Says where the counters are that the compiler put into a program for tests/fuzz/run.sh. The compiler calls this
 * before main, once for each part of the program; they all have the same table. */
#include <stdio.h>
#include <stdlib.h>

void __sanitizer_cov_8bit_counters_init(char *start, char *end) {
  char text[64];
  snprintf(text, sizeof text, "%lx-%lx", (unsigned long)start, (unsigned long)end);
  setenv("KEYSTEAD_COVERAGE", text, 1);
}

#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdint.h>

/// The number of times that any thread of the process asked for memory so far; 0 throughout where
/// the C library is not glibc.
uint64_t allocation_count(void);

/// Whether allocations are counted.
int allocation_is_counted(void);

#endif

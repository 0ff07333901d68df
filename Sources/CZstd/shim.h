// The system's zstd, for builds with the package's trait `Zstd`.
#pragma once
#include <zstd.h>

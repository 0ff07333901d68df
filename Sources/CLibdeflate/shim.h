// The system's libdeflate, for builds with the package's trait `Libdeflate`.
#pragma once
#include <libdeflate.h>

// libcuda.so.1 of the card that is a folder, as far as something that takes memory beside gale needs it.
#include <cstddef>

#include "card_memory.h"

extern "C" {

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) {
  *version = static_cast<int>(fake_card::Card::instance().number("driver", 13'000));
  return 0;
}
int cuDeviceGet(int* device, int) {
  *device = 0;
  return 0;
}
int cuCtxCreate_v2(void** context, unsigned, int) {
  *context = nullptr;
  return 0;
}
int cuMemAlloc_v2(unsigned long long* memory, size_t size) {
  constexpr int kOutOfMemory = 2;
  *memory = 1;
  return fake_card::Card::instance().take(size) ? 0 : kOutOfMemory;
}

}  // extern "C"

#pragma once

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/check.h"

namespace gale {

// Power and clock of the first visible card between begin() and end(), by the driver's NVML, which is loaded on the
// first begin(). CHECKs that there is one.
class CardWatch {
 public:
  struct Reading { double watts, sm_mhz; };

  CardWatch() = default;
  CardWatch(const CardWatch&) = delete;
  CardWatch& operator=(const CardWatch&) = delete;
  ~CardWatch() {
    if (sampler_.joinable()) end();
  }

  void begin() {
    if (card_ == nullptr) load();
    energy_before_ = energy(), start_ = Clock::now(), is_over_ = false, sum_mhz_ = 0, num_samples_ = 0;
    sampler_ = std::thread([this] {
      do {
        unsigned mhz = 0;
        clock_(card_, kSmClock, &mhz);
        sum_mhz_ += mhz, ++num_samples_;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      } while (!is_over_);
    });
  }
  Reading end() {
    const double joules = static_cast<double>(energy() - energy_before_) * 1e-3;
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    is_over_ = true;
    sampler_.join();
    return {joules / seconds, sum_mhz_ / num_samples_};
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Card = void*;
  static constexpr int kSmClock = 1;

  template <class F>
  void find(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    CHECK(function != nullptr, "NVML has no {}", name);
  }
  void load() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    CHECK(library != nullptr, "{}", dlerror());
    int (*init)() = nullptr;
    int (*handle_of)(unsigned, Card*) = nullptr;
    find(library, "nvmlInit_v2", init);
    find(library, "nvmlDeviceGetHandleByIndex_v2", handle_of);
    find(library, "nvmlDeviceGetClockInfo", clock_);
    find(library, "nvmlDeviceGetTotalEnergyConsumption", energy_);
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");   // numbers; NVML does not know of it
    const int index = visible == nullptr ? 0 : std::atoi(visible);
    CHECK(init() == 0 && handle_of(static_cast<unsigned>(index), &card_) == 0, "NVML knows no card {}", index);
  }
  // Millijoules since the driver was loaded.
  [[nodiscard]] unsigned long long energy() const {
    unsigned long long millijoules = 0;
    energy_(card_, &millijoules);
    return millijoules;
  }

  Card card_ = nullptr;
  int (*clock_)(Card, int, unsigned*) = nullptr;
  int (*energy_)(Card, unsigned long long*) = nullptr;
  unsigned long long energy_before_ = 0;
  Clock::time_point start_;
  std::atomic<bool> is_over_ = false;
  double sum_mhz_ = 0, num_samples_ = 0;
  std::thread sampler_;
};

}  // namespace gale

// Declarations of the few names of Unreal Engine 5 that the plugin uses, for a compile check alone: nothing here is defined,
// nothing links, and that the engine's own declarations agree is not checked by it. Written from the engine's documentation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

using uint8 = std::uint8_t;
using int32 = std::int32_t;
using uint32 = std::uint32_t;
using int64 = std::int64_t;
using uint64 = std::uint64_t;
using TCHAR = char16_t;

#define TEXT(x) u##x
#define UCLASS(...)
#define UPROPERTY(...)
#define UFUNCTION(...)
#define GENERATED_BODY()         \
  public:                        \
	using Super = UActorComponent;
#define ONESTEP_API
#define PLATFORM_WINDOWS 1
#define THIRD_PARTY_INCLUDES_START
#define THIRD_PARTY_INCLUDES_END
#define IMPLEMENT_MODULE(Class, Name) IModuleInterface* Name##Made() { return new Class; }
#define UTF8_TO_TCHAR(x) Utf8ToTchar(x)
#define TCHAR_TO_UTF8(x) TcharToUtf8(x)
const TCHAR* Utf8ToTchar(const char*);
const char* TcharToUtf8(const TCHAR*);

template <class T> struct TStripped { using Type = T; };
template <class T> struct TStripped<T&> { using Type = T; };
template <class T> typename TStripped<T>::Type&& MoveTemp(T&& x) { return static_cast<typename TStripped<T>::Type&&>(x); }
template <class T> T&& Forward(typename TStripped<T>::Type& x) { return static_cast<T&&>(x); }
struct FMath { static int32 Max(int32, int32); };
struct FMemory {
	static void* Malloc(std::size_t);
	static void Free(void*);
	static void* Memcpy(void*, const void*, std::size_t);
};

class FString {
public:
	FString();
	FString(const TCHAR*);
	bool IsEmpty() const;
	const TCHAR* operator*() const;
};

template <class T, class Size> class TSizedArray {
public:
	TSizedArray();
	TSizedArray(TSizedArray&&);
	TSizedArray(const TSizedArray&);
	~TSizedArray();
	T* GetData();
	const T* GetData() const;
	Size Num() const;
	void SetNumUninitialized(Size);
};
template <class T> using TArray = TSizedArray<T, int32>;
template <class T> using TArray64 = TSizedArray<T, int64>;

enum class ESPMode { NotThreadSafe, ThreadSafe };
template <class T, ESPMode Mode = ESPMode::ThreadSafe> class TSharedPtr {
public:
	T* Get() const;
	T* operator->() const;
	explicit operator bool() const;
	void Reset();
};
// As the engine's, it constructs a T: arguments that do not fit are found.
template <class T, ESPMode Mode = ESPMode::ThreadSafe, class... Arguments> TSharedPtr<T, Mode> MakeShared(Arguments&&... Given) {
	static_cast<void>(sizeof(new T(std::forward<Arguments>(Given)...)));
	return {};
}
template <class T> class TWeakObjectPtr {
public:
	TWeakObjectPtr(T*);
	TWeakObjectPtr(const TWeakObjectPtr&);
	T* Get() const;
};
template <class T> class TObjectPtr {
public:
	TObjectPtr& operator=(T*);
	T* operator->() const;
	operator T*() const;
};
template <class Function> class TFunction;
template <class R, class... A> class TFunction<R(A...)> {
public:
	template <class F> TFunction(F&& Call) { static_cast<void>(sizeof(static_cast<R>(Call(std::declval<A>()...)), 0)); }
};

#define DECLARE_DYNAMIC_MULTICAST_DELEGATE_OneParam(Name, T1, N1) \
	struct Name { void Broadcast(T1 N1); }
#define DECLARE_DYNAMIC_MULTICAST_DELEGATE_TwoParams(Name, T1, N1, T2, N2) \
	struct Name { void Broadcast(T1 N1, T2 N2); }

namespace EEndPlayReason { enum Type { Destroyed, Quit }; }
struct FActorComponentTickFunction { bool bCanEverTick; };
class UActorComponent {
public:
	virtual ~UActorComponent();
	virtual void BeginPlay();
	virtual void EndPlay(const EEndPlayReason::Type Reason);
	FActorComponentTickFunction PrimaryComponentTick;
};

enum EPixelFormat { PF_B8G8R8A8 };
struct FUpdateTextureRegion2D {
	FUpdateTextureRegion2D(uint32 DestX, uint32 DestY, int32 SrcX, int32 SrcY, uint32 Width, uint32 Height);
};
class UTexture2D {
public:
	static UTexture2D* CreateTransient(int32 SizeX, int32 SizeY, EPixelFormat Format);
	int32 GetSizeX() const;
	int32 GetSizeY() const;
	void UpdateResource();
	void UpdateTextureRegions(int32 Mip, uint32 Count, const FUpdateTextureRegion2D* Regions, uint32 Pitch, uint32 Bpp, uint8* Data,
		TFunction<void(uint8*, const FUpdateTextureRegion2D*)> Cleanup);
};

namespace ENamedThreads { enum Type { GameThread }; }
void AsyncTask(ENamedThreads::Type Thread, TFunction<void()> Call);
namespace UE::Tasks {
class FPipe {
public:
	explicit FPipe(const TCHAR* Name);
	template <class F> void Launch(const TCHAR*, F&& Call) { static_cast<void>(sizeof(Call(), 0)); }
	void WaitUntilEmpty();
};
} // namespace UE::Tasks

struct FPaths {
	static FString ProjectContentDir();
	static bool IsRelative(const FString&);
	static FString Combine(const FString&, const FString&);
};
struct FFileHelper { static bool LoadFileToArray(TArray64<uint8>& Bytes, const TCHAR* Path); };
struct FPlatformProcess {
	static void* GetDllHandle(const TCHAR* Path);
	static void FreeDllHandle(void*);
};
struct IPlugin { FString GetBaseDir() const; };
struct IPluginManager {
	static IPluginManager& Get();
	TSharedPtr<IPlugin> FindPlugin(const FString& Name);
};
class IModuleInterface {
public:
	virtual ~IModuleInterface() = default;
	virtual void StartupModule() {}
	virtual void ShutdownModule() {}
};

#pragma once

#include "CoreMinimal.h"
#include "Tasks/Pipe.h"

THIRD_PARTY_INCLUDES_START
#include <onestep.hpp>
THIRD_PARTY_INCLUDES_END

class UOneStepComponent;

// What a component does in the background. Its functions are the game thread's; the pipe runs one task at a time, in order,
// so that the model and the session are only ever used by one.
class FOneStepWorker
{
public:
	explicit FOneStepWorker(UOneStepComponent& InOwner);
	// Cancels, and waits for what runs: at most one network block.
	~FOneStepWorker();

	void Open(const FString& File, uint32 Threads);
	void Draw(uint64 Seed, int32 Label);
	// What is drawing and what waits to be drawn; what is asked for later carries another token.
	void Cancel();

private:
	using FToken = std::shared_ptr<const onestep::cancel>;

	onestep::result<void> OpenNow(const FString& File, uint32 Threads);
	onestep::result<void> DrawNow(uint64 Seed, int32 Label, const FToken& Carried, TArray<uint8>& Pixels);
	// Calls the owner on the game thread, if it is there and this is still its worker.
	template <class CallType> void Tell(CallType&& Call);
	void TellFailure(const onestep::error& Error);

	TWeakObjectPtr<UOneStepComponent> Owner;
	onestep::cancel Ending; // of opening, which Cancel leaves alone
	FToken Token = std::make_shared<const onestep::cancel>();
	std::optional<onestep::model> Model;
	std::optional<onestep::session> Session;
	UE::Tasks::FPipe Pipe{TEXT("OneStep")};
};

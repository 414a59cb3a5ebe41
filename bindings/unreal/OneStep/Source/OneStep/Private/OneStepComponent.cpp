#include "OneStepComponent.h"

#include "Engine/Texture2D.h"
#include "OneStepWorker.h"

UOneStepComponent::UOneStepComponent()
{
	PrimaryComponentTick.bCanEverTick = false;
}

void UOneStepComponent::BeginPlay()
{
	Super::BeginPlay();
	Worker = MakeShared<FOneStepWorker, ESPMode::ThreadSafe>(*this);
	Worker->Open(ModelFile, static_cast<uint32>(FMath::Max(Threads, 0)));
}

void UOneStepComponent::EndPlay(const EEndPlayReason::Type Reason)
{
	Worker.Reset();
	Super::EndPlay(Reason);
}

void UOneStepComponent::Draw(int64 Seed, int32 Label)
{
	if (Worker)
		Worker->Draw(static_cast<uint64>(Seed), Label);
	else
		Failed(ONESTEP_INVALID_ARGUMENT, TEXT("Draw: the component does not play"));
}

void UOneStepComponent::Cancel()
{
	if (Worker) Worker->Cancel();
}

void UOneStepComponent::Opened(int32 Width, int32 Height)
{
	Texture = UTexture2D::CreateTransient(Width, Height, PF_B8G8R8A8);
	Texture->UpdateResource();
	OnOpened.Broadcast(Texture);
}

void UOneStepComponent::Drawn(const TArray<uint8>& Pixels)
{
	// The render thread reads both later, and frees them.
	const int32 Width = Texture->GetSizeX(), Height = Texture->GetSizeY();
	uint8* Copy = static_cast<uint8*>(FMemory::Malloc(Pixels.Num()));
	FMemory::Memcpy(Copy, Pixels.GetData(), Pixels.Num());
	auto* Region = new FUpdateTextureRegion2D(0, 0, 0, 0, Width, Height);
	Texture->UpdateTextureRegions(0, 1, Region, Width * 4, 4, Copy, [](uint8* Data, const FUpdateTextureRegion2D* Regions) {
		FMemory::Free(Data);
		delete Regions;
	});
	OnDrawn.Broadcast(Texture);
}

void UOneStepComponent::Failed(int32 Code, const FString& Message)
{
	OnFailed.Broadcast(Code, Message);
}
